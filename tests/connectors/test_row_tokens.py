"""Learned tokens after each row and before everything, and what lies where afterwards."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from connectors import contract
from connectors.contract import random_features
from connectors.small import GRID, LLM_DIM, OTHER_GRID, VISION_DIM
from opticnerve import LLM, Connector, ConnectorSpec, Grid, Queries
from opticnerve.connectors.blocks import BeginTokens, EndTokens, Linear, Merge, RowTokens
from opticnerve.errors import GridError, SpecError

SPEC = ConnectorSpec(
    name="lines", blocks=(Merge(), RowTokens(), Linear(dim=LLM * 2), BeginTokens(num=2), EndTokens(), Linear())
)


@pytest.fixture
def connector() -> Connector:
    torch.manual_seed(0)
    return SPEC.build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)


@given(h=st.integers(1, 4), w=st.integers(1, 4), frames=st.integers(1, 3))
def test_every_row_of_every_frame_ends_with_the_token(h: int, w: int, frames: int) -> None:
    grid = Grid(h, w, frames=frames)
    block, x = RowTokens().build(3), torch.randn(2, grid.size, 3)
    tokens: list[Tensor] = []
    for index in range(grid.size):
        tokens.append(x[:, index])
        if index % w == w - 1:
            tokens.append(block.token.expand(2, -1))
    assert torch.equal(block(x, grid), torch.stack(tokens, 1))
    assert RowTokens().out_grid(grid) == Queries(len(tokens))


@pytest.mark.parametrize("places", [Grid(2, 3), Grid(2, 3, prefix=1), Queries(6)], ids=str)
def test_begin_tokens_come_first(places: Grid | Queries) -> None:
    block, x = BeginTokens(num=2).build(3), torch.randn(4, places.size, 3)
    got = block(x, places)
    assert torch.equal(got, torch.cat([block.tokens.expand(4, -1, -1), x], dim=1))
    assert BeginTokens(num=2).out_grid(places).size == got.shape[1]


def test_begin_tokens_leave_the_patches_on_their_grid() -> None:
    assert BeginTokens(num=2).out_grid(Grid(2, 3, frames=2, prefix=1)) == Grid(2, 3, frames=2, prefix=3)
    assert BeginTokens().out_grid(Queries(6)) == Queries(7)


def test_rows_that_are_not_there_cannot_end() -> None:
    with pytest.raises(GridError, match="end rows works on places, but 6 learned queries have none"):
        RowTokens().out_grid(Queries(6))
    with pytest.raises(GridError, match="end rows works on places, but"):
        RowTokens().out_grid(Grid(2, 3, prefix=1))


def test_no_tokens_are_no_block() -> None:
    with pytest.raises(SpecError, match="begin tokens must be at least 1, got num=0: leave the block out for none"):
        BeginTokens(num=0)


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
def test_a_connector_of_them_keeps_the_contract(connector: Connector, check: Callable[[Connector, Grid], None]) -> None:
    check(connector, GRID)


def test_a_connector_of_them_counts_packs_and_round_trips(connector: Connector) -> None:
    contract.counts_its_parameters(connector)
    contract.packs_as_it_batches(connector, GRID, OTHER_GRID)
    assert ConnectorSpec.from_json(SPEC.to_json()) == SPEC
    assert SPEC.num_tokens(Grid(8, 12)) == 2 + 4 * (6 + 1) + 1


@pytest.mark.unchecked
def test_they_compile_and_export(connector: Connector) -> None:
    torch.compiler.reset()
    features = random_features(connector, GRID)
    want = connector(features, GRID)
    compiled = torch.compile(connector, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features, GRID), want)
    program = torch.export.export(connector.on_grid(GRID), (features,))
    torch.testing.assert_close(program.module()(features), want)
