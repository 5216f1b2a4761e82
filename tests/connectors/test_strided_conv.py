"""Strided convolutions against a sum over each window, on any grid."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from connectors import contract
from connectors.contract import random_features
from connectors.small import GRID, LLM_DIM, OTHER_GRID, VISION_DIM
from opticnerve import Connector, ConnectorSpec, Grid, Queries
from opticnerve.connectors.blocks import Downsample, Linear, StridedConv
from opticnerve.errors import GridError, SpecError

SPEC = ConnectorSpec(name="strided", blocks=(StridedConv(dim=40, has_bias=False), StridedConv(dim=36), Linear()))


@pytest.fixture
def connector() -> Connector:
    torch.manual_seed(0)
    return SPEC.build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)


def slow_conv(x: Tensor, grid: Grid, spec: StridedConv, weight: Tensor) -> Tensor:
    """Window by window, patch by patch; nothing beyond the edge."""
    tokens: list[Tensor] = []
    for frame in range(grid.frames):
        for top in range(-spec.padding, grid.rows + spec.padding - spec.kernel + 1, spec.stride):
            for left in range(-spec.padding, grid.cols + spec.padding - spec.kernel + 1, spec.stride):
                total = torch.zeros(len(x), len(weight))
                for row in range(max(top, 0), min(top + spec.kernel, grid.rows)):
                    for col in range(max(left, 0), min(left + spec.kernel, grid.cols)):
                        patch = x[:, (frame * grid.rows + row) * grid.cols + col]
                        total = total + patch @ weight[:, :, row - top, col - left].T
                tokens.append(total)
    return torch.stack(tokens, 1)


@settings(deadline=None)  # the first convolution of a process is slow
@given(
    h=st.integers(1, 6),
    w=st.integers(1, 6),
    frames=st.integers(1, 2),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    data=st.data(),
)
def test_a_token_is_a_sum_over_its_window(
    h: int, w: int, frames: int, kernel: int, stride: int, data: st.DataObject
) -> None:
    grid = Grid(h, w, frames=frames)
    padding = data.draw(st.integers(0, kernel - 1))
    spec = StridedConv(kernel=kernel, stride=stride, padding=padding, dim=4, has_bias=False)
    if min(h, w) + 2 * padding < kernel:
        with pytest.raises(GridError, match=f"no window fits. Both sides must be at least {kernel - 2 * padding}$"):
            spec.out_grid(grid)
        return
    torch.manual_seed(0)
    block, x = spec.build(3), torch.randn(2, grid.size, 3)
    got = block(x, grid)
    torch.testing.assert_close(got, slow_conv(x, grid, spec, block.conv.weight), atol=1e-5, rtol=1e-5)
    assert spec.out_grid(grid).size == got.shape[1]
    assert spec.out_grid(grid).frames == frames


def test_the_defaults_quarter_a_grid_and_round_odd_sides_up() -> None:
    assert StridedConv().out_grid(Grid(64, 64)) == Grid(32, 32)
    assert StridedConv().out_grid(Grid(5, 7, frames=3)) == Grid(3, 4, frames=3)
    assert StridedConv(stride=1).out_grid(Grid(5, 7)) == Grid(5, 7)


def test_a_kernel_of_one_is_a_linear_and_one_as_wide_as_its_stride_a_downsample() -> None:
    grid, x = Grid(4, 6), torch.randn(2, 24, 3)
    one = StridedConv(kernel=1, stride=1, padding=0, dim=5).build(3)
    torch.testing.assert_close(one(x, grid), F.linear(x, one.conv.weight.flatten(1), one.conv.bias))
    conv, down = StridedConv(kernel=2, stride=2, padding=0, dim=5).build(3), Downsample(factor=2, dim=5).build(3)
    down.load_state_dict(conv.state_dict())
    assert torch.equal(conv(x, grid), down(x, grid))


@pytest.mark.parametrize("places", [Grid(4, 4, prefix=1), Queries(16)], ids=str)
def test_places_that_are_no_map_are_refused(places: Grid | Queries) -> None:
    with pytest.raises(GridError, match="convolve works on places, but"):
        StridedConv().out_grid(places)


@pytest.mark.parametrize("options", [{"kernel": 0}, {"stride": 0}, {"padding": -1}, {"padding": 3}])
def test_windows_that_cannot_be_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(
        SpecError, match="strided conv needs a whole kernel and stride of at least 1 and a padding below"
    ):
        StridedConv(**options)


@pytest.mark.parametrize(
    "check",
    [
        contract.gives_the_planned_tokens,
        contract.counts_its_flops,
        contract.states_memory_for_input_and_output,
        contract.teaches_every_parameter,
        contract.keeps_images_apart,
        contract.leaves_its_input_alone,
        contract.works_in_bfloat16,
        contract.survives_its_state_dict,
    ],
    ids=lambda check: check.__name__,
)
@pytest.mark.parametrize("grid", [GRID, Grid(7, 9)], ids=str)
def test_a_connector_of_them_keeps_the_contract(
    connector: Connector, check: Callable[[Connector, Grid], None], grid: Grid
) -> None:
    check(connector, grid)


def test_tokens_stay_in_place() -> None:
    torch.manual_seed(0)
    spec = ConnectorSpec(name="strided", blocks=(StridedConv(), Linear()))
    contract.keeps_tokens_in_place(spec.build(vision_dim=VISION_DIM, llm_dim=LLM_DIM), GRID)


def test_a_connector_of_them_counts_packs_and_round_trips(connector: Connector) -> None:
    contract.counts_its_parameters(connector)
    contract.packs_as_it_batches(connector, GRID, OTHER_GRID, Grid(5, 7))
    assert ConnectorSpec.from_json(SPEC.to_json()) == SPEC


@pytest.mark.filterwarnings("ignore:Profiler clears events:UserWarning")
def test_a_wide_one_states_its_peak_memory() -> None:
    spec = ConnectorSpec(
        name="strided", blocks=(StridedConv(),)
    )  # the kernel's copy of its weights is small beside this grid
    contract.states_its_peak_memory(spec.build(vision_dim=256, llm_dim=384), Grid(48, 48))


@pytest.mark.unchecked
def test_it_compiles_and_exports(connector: Connector) -> None:
    torch.compiler.reset()
    features = random_features(connector, GRID)
    want = connector(features, GRID)
    compiled = torch.compile(connector, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features, GRID), want)
    program = torch.export.export(connector.on_grid(GRID), (features,))
    torch.testing.assert_close(program.module()(features), want)
