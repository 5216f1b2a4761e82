"""Blocks that make one frame of several: mean and merge, against loops that anyone can read."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from connectors import contract
from opticnerve import Connector, ConnectorSpec, Grid, Queries
from opticnerve.connectors.blocks import FrameMean, Linear, Merge, MergeFrames
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Places

VIDEO = Grid(2, 3, frames=4)


def features(grid: Grid, dim: int = 3) -> Tensor:
    return torch.randn(2, grid.size, dim, generator=torch.Generator().manual_seed(0))


def test_the_mean_is_over_the_same_patch_of_every_frame() -> None:
    x = features(VIDEO)
    got = FrameMean().build(3)(x, VIDEO)
    want = sum(x[:, frame * 6 : frame * 6 + 6] for frame in range(4)) / 4
    torch.testing.assert_close(got, want)
    assert FrameMean().out_grid(VIDEO) == Grid(2, 3)


def test_the_mean_of_a_still_image_is_the_image() -> None:
    x = features(Grid(2, 3))
    assert torch.equal(FrameMean().build(3)(x, Grid(2, 3)), x)


def test_frames_are_merged_the_earlier_first() -> None:
    x = features(VIDEO)
    got = MergeFrames().build(3)(x, VIDEO)
    assert MergeFrames().out_grid(VIDEO) == Grid(2, 3, frames=2)
    assert MergeFrames().out_dim(3) == 6
    for pair in range(2):
        for place in range(6):
            early, late = 12 * pair + place, 12 * pair + 6 + place
            assert torch.equal(got[:, 6 * pair + place], torch.cat([x[:, early], x[:, late]], dim=-1))


def test_a_still_image_is_repeated_where_that_is_asked_for() -> None:
    x, grid = features(Grid(2, 3)), Grid(2, 3)
    block = MergeFrames(frames=3, still="repeat")
    assert torch.equal(block.build(3)(x, grid), torch.cat([x, x, x], dim=-1))
    assert block.out_grid(grid) == grid


def test_after_a_merge_a_token_holds_frame_row_column_channel() -> None:
    grid = Grid(2, 2, frames=2)
    x = torch.arange(24.0).reshape(1, 8, 3)
    merged = MergeFrames().build(12)(Merge().build(3)(x, grid), Grid(1, 1, frames=2))
    assert torch.equal(merged[0, 0], torch.arange(24.0))


@pytest.mark.parametrize(("frames", "still"), [(3, "error"), (3, "repeat"), (1, "error")])
def test_frames_that_do_not_divide_are_refused(frames: int, still: Any) -> None:
    grid = Grid(2, 3, frames=frames)
    with pytest.raises(GridError, match=rf"by 2: their number, {frames}, must be a multiple of 2\. Drop or repeat"):
        MergeFrames(still=still).out_grid(grid)


def test_no_frames_to_merge_are_refused() -> None:
    with pytest.raises(SpecError, match="merge frames needs a whole number of at least 1, got 0"):
        MergeFrames(frames=0)


@pytest.mark.parametrize("block", [FrameMean(), MergeFrames()])
@pytest.mark.parametrize("places", [Grid(4, 4, prefix=1), Queries(16)], ids=str)
def test_tokens_without_a_place_are_refused(block: Any, places: Places) -> None:
    with pytest.raises(GridError, match="works on places, but"):
        block.out_grid(places)


@pytest.fixture(params=[FrameMean(), MergeFrames(), MergeFrames(still="repeat")], ids=str)
def connector(request: pytest.FixtureRequest) -> Connector:
    torch.manual_seed(0)
    spec = ConnectorSpec(name="frames", blocks=(Linear(dim=16), request.param, Merge(), Linear()))
    return spec.build(vision_dim=8, llm_dim=12)


@pytest.mark.parametrize(
    "check",
    [
        contract.gives_the_planned_tokens,
        contract.counts_its_parameters,
        contract.counts_its_flops,
        contract.states_memory_for_input_and_output,
        contract.teaches_every_parameter,
        contract.keeps_images_apart,
        contract.leaves_its_input_alone,
        contract.works_in_bfloat16,
        contract.survives_its_state_dict,
    ],
    ids=lambda check: getattr(check, "__name__", str(check)),
)
def test_the_blocks_keep_the_contract(connector: Connector, check: Callable[..., None]) -> None:
    arguments = () if check is contract.counts_its_parameters else (Grid(4, 2, frames=4),)
    check(connector, *arguments)


def test_the_blocks_survive_json(connector: Connector) -> None:
    assert ConnectorSpec.from_json(connector.spec.to_json()) == connector.spec


@pytest.mark.unchecked
def test_the_blocks_compile_and_export(connector: Connector) -> None:
    grid = Grid(4, 2, frames=4)
    x = features(grid, 8)
    torch.compiler.reset()
    compiled = torch.compile(connector, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, grid), connector(x, grid))
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(connector.on_grid(grid), (x,), dynamic_shapes=({0: batch},))
    more = torch.cat([x, x])
    torch.testing.assert_close(program.module()(more), connector(more, grid), atol=1e-5, rtol=1e-5)
