"""Sine-cosine positions: against a slow reference, and by the contract."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import contract
from connectors.contract import random_features
from connectors.small import GRID, LLM_DIM, OTHER_GRID, VISION_DIM
from opticnerve import Connector, ConnectorSpec, Grid, Queries
from opticnerve.connectors.blocks import Activation, Linear, Merge, Norm, SincosPositions
from opticnerve.errors import GridError, SpecError

BLOCKS = (Norm(), Merge(), Linear(has_bias=False), SincosPositions(), Norm(), Activation(), Linear())
SPEC = ConnectorSpec(name="placed", blocks=BLOCKS)


@pytest.fixture
def connector() -> Connector:
    torch.manual_seed(0)
    return SPEC.build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)


@settings(deadline=None)  # the first call imports
@given(rows=st.integers(1, 5), cols=st.integers(1, 5), quarter=st.integers(1, 3), frames=st.integers(1, 2))
def test_each_place_gets_waves_of_its_column_then_of_its_row(rows: int, cols: int, quarter: int, frames: int) -> None:
    grid, dim = Grid(rows, cols, frames=frames), 4 * quarter
    x = torch.randn(2, grid.size, dim, generator=torch.Generator().manual_seed(0))
    added = SincosPositions().build(dim)(x, grid) - x
    speeds = [10000.0 ** (-index / quarter) for index in range(quarter)]
    for place in range(grid.size):
        row, col = place % (rows * cols) // cols, place % cols
        want = [wave(where * speed) for where in (col, row) for wave in (math.sin, math.cos) for speed in speeds]
        torch.testing.assert_close(added[0, place], torch.tensor(want), atol=1e-6, rtol=0)


def test_it_learns_nothing_and_keeps_the_grid() -> None:
    block = SincosPositions()
    assert block.num_params(8) == 0
    assert block.out_grid(Grid(3, 5, frames=2)) == Grid(3, 5, frames=2)


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(GridError, match="sine-cosine position"):
        SincosPositions().out_grid(Queries(4))


def test_channels_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(SpecError, match="need a multiple of 4 channels, got 6"):
        SincosPositions().build(6)


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
def test_a_connector_with_it(connector: Connector, check: Callable[[Connector, Grid], None]) -> None:
    check(connector, GRID)


def test_it_packs_and_counts(connector: Connector) -> None:
    contract.counts_its_parameters(connector)
    contract.packs_as_it_batches(connector, GRID, OTHER_GRID)


@pytest.mark.filterwarnings("ignore:Profiler clears events:UserWarning")
@pytest.mark.parametrize("blocks", [BLOCKS, (Linear(), SincosPositions())], ids=["among others", "last"])
def test_it_states_its_peak_memory(blocks: tuple[object, ...]) -> None:
    spec = ConnectorSpec(name="placed", blocks=blocks)
    contract.states_its_peak_memory(spec.build(vision_dim=256, llm_dim=384), Grid(24, 24))


def test_it_goes_through_json() -> None:
    assert ConnectorSpec.from_json(SPEC.to_json()) == SPEC


@pytest.mark.unchecked
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
