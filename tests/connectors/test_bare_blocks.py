"""Bare norms, scales, positions of rows and columns, and branches: against slow references, and by the contract."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from connectors import contract
from connectors.contract import random_features
from connectors.small import GRID, LLM_DIM, OTHER_GRID, VISION_DIM
from opticnerve import LLM, VISION, Connector, ConnectorSpec, Grid, Queries
from opticnerve.connectors.blocks import (
    IN,
    Activation,
    AdaptivePool,
    BlockSpec,
    Branches,
    FrameWaves,
    Linear,
    Merge,
    Norm,
    PatchPositions,
    Pool,
    Scale,
    Standardise,
)
from opticnerve.errors import GridError, SpecError, UnknownNameError

HALF = LLM // 2
SPECS: dict[str, tuple[BlockSpec, ...]] = {
    "bare": (Scale(factor=6.0), Norm(norm="rms_no_scale"), Linear(), Norm(norm="rms_no_scale", eps=1e-6)),
    "standardised": (Pool(factor=2), Standardise(scale=6.0), Norm(norm="rms_no_scale"), Linear(has_bias=False)),
    "sum_positions": (PatchPositions(size=24), Linear(dim=VISION // 2), Activation(function="quick_gelu"), Linear()),
    "side_positions": (
        PatchPositions(size=24, join="channels"),
        FrameWaves(max_frames=3),
        Branches(branches=((AdaptivePool(rows=1, cols=1),), ()), join="tokens"),
        Linear(),
        Norm(),
    ),
    "reflecting": (Pool(factor=5, odd="reflect"), Linear(dim=IN * 2), Activation(function="relu_squared"), Linear()),
    "deep": (
        Branches(
            branches=((Norm(), Merge(), Linear(dim=HALF)), (Merge(), Norm(), Linear(dim=IN), Linear(dim=HALF))),
            reads="split",
        ),
    ),
    "residual": (Branches(branches=((Linear(dim=VISION),), ()), join="sum"), Linear()),
}
every_spec = pytest.mark.parametrize("name", SPECS)


def spec(name: str) -> ConnectorSpec:
    return ConnectorSpec(name=name, blocks=SPECS[name], num_levels=2 if name == "deep" else 1)


@pytest.fixture
def connector(name: str) -> Connector:
    torch.manual_seed(0)
    return spec(name).build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)


@every_spec
@pytest.mark.parametrize(
    "check",
    [
        contract.gives_the_planned_tokens,
        contract.counts_its_flops,
        contract.states_memory_for_input_and_output,
        contract.teaches_every_parameter,
        contract.keeps_images_apart,
        contract.leaves_its_input_alone,
        contract.keeps_tokens_in_place,
        contract.works_in_bfloat16,
        contract.survives_its_state_dict,
    ],
    ids=lambda check: check.__name__,
)
def test_a_connector_of_these_blocks(connector: Connector, check: Callable[[Connector, Grid], None]) -> None:
    check(connector, GRID)


@every_spec
def test_it_packs_and_counts(connector: Connector) -> None:
    contract.counts_its_parameters(connector)
    contract.packs_as_it_batches(connector, GRID, OTHER_GRID)


@pytest.mark.filterwarnings("ignore:Profiler clears events:UserWarning")
@every_spec
def test_it_states_its_peak_memory(name: str) -> None:
    contract.states_its_peak_memory(spec(name).build(vision_dim=256, llm_dim=384), Grid(24, 24))


@every_spec
def test_it_goes_through_json_resolved_or_not(name: str) -> None:
    for one in (spec(name), spec(name).resolve(vision_dim=VISION_DIM, llm_dim=LLM_DIM)):
        again = ConnectorSpec.from_json(one.to_json())
        assert again == one
        assert again.to_json() == one.to_json()


@pytest.mark.unchecked
@every_spec
def test_it_compiles_in_one_graph_and_exports_with_a_free_batch(connector: Connector) -> None:
    torch.compiler.reset()
    features = random_features(connector, GRID)
    want = connector(features, GRID)
    compiled = torch.compile(connector, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features, GRID), want)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(connector.on_grid(GRID), (features,), dynamic_shapes=({0: batch},))
    more = torch.cat([features, features])
    torch.testing.assert_close(program.module()(more), connector(more, GRID), atol=1e-5, rtol=1e-5)


def made(block: BlockSpec, dim: int = 4) -> Any:
    """A block whose learned and fixed numbers are all random."""
    module = block.build(dim)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return module


def features(grid: Grid, dim: int = 4) -> Tensor:
    return torch.randn(2, grid.size, dim, generator=torch.Generator().manual_seed(0))


def test_a_bare_rms_norm_has_no_weights_and_divides_by_the_root_mean_square() -> None:
    grid = Grid(1, 3)
    block, x = Norm(norm="rms_no_scale", eps=0.1).build(4), features(grid)
    assert not block.state_dict()
    for image, normed in zip(x, block(x, grid), strict=True):
        for token, got in zip(image.tolist(), normed.tolist(), strict=True):
            root = math.sqrt(sum(value**2 for value in token) / 4 + 0.1)
            assert got == pytest.approx([value / root for value in token], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_scale_multiplies_and_gives_back_the_type_it_was_given(dtype: torch.dtype) -> None:
    grid = Grid(2, 2)
    x = features(grid).to(dtype)
    got = Scale(factor=3.3).build(4)(x, grid)
    assert got.dtype == dtype
    assert torch.equal(got, (x.float() * 3.3).to(dtype))
    torch.testing.assert_close(got.double(), x.double() * 3.3, atol=0, rtol=torch.finfo(dtype).eps)


def test_standardising_scales_then_subtracts_then_multiplies() -> None:
    grid = Grid(2, 3)
    block, x = made(Standardise(scale=2.0)), features(grid)
    want = [
        [[(value * 2 - mean) * inverse for value, mean, inverse in zip(token, *fixed, strict=True)] for token in image]
        for fixed in [(block.mean.tolist(), block.inverse_spread.tolist())]
        for image in x.tolist()
    ]
    torch.testing.assert_close(block(x, grid), torch.tensor(want))


def test_standardising_float16_stays_finite_where_the_scaled_numbers_are_out_of_range() -> None:
    block = Standardise(scale=100.0).build(1).half()
    block.mean.fill_(60000)
    x = torch.tensor([[[900.0]]], dtype=torch.float16)
    assert Scale(factor=100.0).build(1)(x, Grid(1, 1)).isinf().all()
    assert block(x, Grid(1, 1)).tolist() == [[[30000 - 30000 % 16]]]


@pytest.mark.parametrize("join", ["sum", "channels"])
@given(rows=st.integers(1, 5), cols=st.integers(1, 5), frames=st.integers(1, 2), dim=st.integers(2, 5))
def test_positions_of_rows_and_columns_are_added_to_every_patch(
    join: str, rows: int, cols: int, frames: int, dim: int
) -> None:
    grid = Grid(rows, cols, frames=frames)
    block, x = made(PatchPositions(size=5, join=join), dim), features(grid, dim)
    got = block(x, grid)
    index = 0
    for _ in range(frames):
        for row in range(rows):
            for col in range(cols):
                if join == "sum":
                    own = block.table[col][0] + block.table[row][1]
                else:
                    own = torch.cat([block.cols[col], block.rows[row]])
                torch.testing.assert_close(got[:, index], x[:, index] + own)
                index += 1


@given(frames=st.integers(1, 4), half=st.integers(1, 4))
def test_frame_waves_are_sines_and_cosines_in_turn(frames: int, half: int) -> None:
    grid = Grid(1, 2, frames=frames)
    got = FrameWaves(max_frames=4).build(2 * half)(torch.zeros(1, grid.size, 2 * half), grid)
    for index, token in enumerate(got[0].tolist()):
        angles = [(index // 2) / 10000 ** (channel / half) for channel in range(half)]
        want = [wave(angle) for angle in angles for wave in (math.sin, math.cos)]
        assert token == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("mode", ["average", "max"])
@given(rows=st.integers(3, 8), cols=st.integers(3, 8), factor=st.integers(1, 4), frames=st.integers(1, 2))
def test_a_reflecting_pool_mirrors_what_is_missing(mode: str, rows: int, cols: int, factor: int, frames: int) -> None:
    grid = Grid(rows, cols, frames=frames)
    block = Pool(factor=factor, mode=mode, odd="reflect")
    if -rows % factor >= rows or -cols % factor >= cols:
        return
    x = features(grid).unflatten(1, (frames, rows, cols))
    tokens: list[Tensor] = []
    for frame in range(frames):
        for top in range(0, rows, factor):
            for left in range(0, cols, factor):
                own = [
                    x[:, frame, _mirror(top + down, rows), _mirror(left + right, cols)]
                    for down in range(factor)
                    for right in range(factor)
                ]
                cell = torch.stack(own)
                tokens.append(cell.mean(0) if mode == "average" else cell.amax(0))
    torch.testing.assert_close(block.build(4)(x.flatten(1, 3), grid), torch.stack(tokens, 1))
    assert block.out_grid(grid) == Grid(-(-rows // factor), -(-cols // factor), frames=frames)


def _mirror(index: int, length: int) -> int:
    return index if index < length else 2 * (length - 1) - index


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("quick_gelu", lambda x: x / (1 + math.exp(-1.702 * x))),
        ("relu_squared", lambda x: max(x, 0.0) ** 2),
    ],
)
def test_activations_are_what_they_are_called(name: str, function: Callable[[float], float]) -> None:
    x = features(Grid(2, 2))
    got = Activation(function=name).build(4)(x, Grid(2, 2))
    assert got.flatten().tolist() == pytest.approx([function(value) for value in x.flatten().tolist()], abs=1e-6)


def test_branches_that_split_read_their_own_channels_each() -> None:
    block = Branches(branches=((Linear(dim=3),), (), (Scale(factor=2.0),)), reads="split")
    module, x, grid = made(block, 6), features(Grid(2, 2), 6), Grid(2, 2)
    want = torch.cat([module.branches[0][0](x[..., :2], grid), x[..., 2:4], 2 * x[..., 4:]], dim=-1)
    assert torch.equal(module(x, grid), want)
    assert block.out_dim(6) == 7


def test_branches_that_read_all_are_joined_by_channels_tokens_or_a_sum() -> None:
    grid = Grid(2, 4, frames=2)
    x = features(grid)
    twice = (Scale(factor=2.0),)
    got = {join: Branches(branches=(twice, ()), join=join).build(4)(x, grid) for join in ("channels", "tokens", "sum")}
    assert torch.equal(got["channels"], torch.cat([2 * x, x], dim=-1))
    assert torch.equal(got["tokens"], torch.cat([2 * x, x], dim=1))
    assert torch.equal(got["sum"], 3 * x)
    pooled = Branches(branches=((Pool(),), ()), join="tokens")
    assert pooled.out_grid(grid) == Queries(4 + 16)
    assert torch.equal(pooled.build(4)(x, grid)[:, 4:], x)
    assert Branches(branches=((Pool(),), (Pool(mode="max"),))).out_grid(grid) == Grid(1, 2, frames=2)


def test_widths_in_a_branch_are_relative_to_what_enters_it() -> None:
    first = (Merge(), Linear(dim=IN), Linear(dim=VISION))
    block = Branches(branches=(first, (Merge(), Linear(dim=LLM))), reads="split")
    resolved = block.resolve(in_dim=10, vision_dim=10, llm_dim=7)
    assert [one.dim for one in (*resolved.branches[0], *resolved.branches[1]) if isinstance(one, Linear)] == [20, 10, 7]
    assert resolved.out_dim(10) == 17


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Branches(branches=((),)), "branches are two or more lists of blocks, got 1"),
        (
            lambda: Branches(branches=((), ()), reads="split").out_dim(5),
            "5 channels cannot be cut into 2 equal parts, one for each branch",
        ),
        (
            lambda: Branches(branches=((), (Linear(dim=5),)), join="sum").out_dim(4),
            "branches that are joined by sum must be equally wide, got [4, 5]",
        ),
        (lambda: PatchPositions(size=0), "patch positions need a size of at least 1, got 0"),
        (lambda: FrameWaves(max_frames=0), "frame waves need room for at least 1 frame, got max_frames=0"),
        (lambda: FrameWaves(max_frames=2).build(3), "frame waves need an even number of channels, got 3"),
    ],
)
def test_impossible_settings_are_refused(act: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError) as raised:
        act()
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("block", "grid", "message"),
    [
        (
            Branches(branches=((Pool(),), ())),
            Grid(4, 4),
            "branches that are joined by channels must give as many tokens each, got 2 x 2, 4 x 4",
        ),
        (
            PatchPositions(size=3),
            Grid(2, 4),
            "positions are learned for at most 3 rows and 3 columns, but the features lie on 2 x 4: make the image "
            "smaller, or build the connector with a larger size",
        ),
        (
            FrameWaves(max_frames=2),
            Grid(2, 2, frames=3),
            "the table of frame waves has 2 frames, but the grid 3 x 2 x 2 has 3: sample at most 2 frames, or build "
            "the connector with more",
        ),
        (
            Pool(factor=2, odd="reflect"),
            Grid(1, 4),
            "cannot reflect a 1 x 4 grid up to multiples of 2: it needs 2 rows and 1 columns at least. Lower the "
            'factor, or take mode "bilinear", which takes any grid',
        ),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_grids_that_do_not_fit_are_refused(block: BlockSpec, grid: Grid, message: str) -> None:
    with pytest.raises(GridError) as raised:
        block.out_grid(grid)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("branches", "error", "message"),
    [
        ("two", SpecError, "branches are lists of blocks, got 'two'"),
        ([[], 3], SpecError, "a branch is a list of blocks, got 3"),
        ([[], ["linear"]], SpecError, "a block is a JSON object with a \"kind\", got 'linear'"),
        ([[], [{"kind": "liner"}]], UnknownNameError, 'unknown block "liner"'),
        ([[], [{"kind": "pool", "factr": 2}]], UnknownNameError, 'unknown field of block pool "factr"'),
        ([[], [{"kind": "pool", "factor": 0}]], SpecError, "pool needs a whole factor of at least 1, got 0"),
    ],
)
def test_branches_in_json_that_are_no_blocks_are_refused(branches: Any, error: type[Exception], message: str) -> None:
    entry = {"kind": "branches", "branches": branches}
    with pytest.raises(error) as raised:
        ConnectorSpec.from_dict({"name": "x", "blocks": [entry]})
    assert str(raised.value).startswith(message)
