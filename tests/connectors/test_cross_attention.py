"""Cross-attention against a slow, obvious reference, and its numbers of queries."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from connectors import contract
from connectors.small import GRID, LLM_DIM, VISION_DIM
from opticnerve import Connector, ConnectorSpec, Grid, Queries
from opticnerve.connectors.blocks import LLM, Activation, CrossAttention, Linear, Norm
from opticnerve.connectors.blocks.cross_attention import CrossAttentionBlock
from opticnerve.errors import GridError, SpecError

DIM = 12
SMALL: dict[str, Any] = {"num_queries": 6, "num_heads": 4}
BY_SIDE: dict[str, Any] = {**SMALL, "queries_by_side": ((4, 2), (6, 5), (12, 6))}


def slow(block: CrossAttentionBlock, x: Tensor, num: int) -> Tensor:
    """One image, one head, one query after another."""

    def linear(module: nn.Module, row: Tensor) -> Tensor:
        return (
            row
            if isinstance(module, nn.Identity)
            else row @ module.weight.T + (0 if module.bias is None else module.bias)
        )

    def normed(module: nn.Module, row: Tensor) -> Tensor:
        if isinstance(module, nn.Identity):
            return row
        return (row - row.mean()) / (row.var(correction=0) + block.spec.eps).sqrt() * module.weight + module.bias

    attention, heads = block.attention, block.spec.num_heads
    head_dim = x.shape[-1] // heads
    queries = [normed(block.query_norm, row) for row in block.queries[:num]]
    images: list[Tensor] = []
    for image in x:
        seen = [normed(block.feature_norm, row) for row in image] + queries * block.spec.sees_queries
        keys = torch.stack([linear(attention.key, linear(block.key, row)) for row in seen])
        values = torch.stack([linear(attention.value, linear(block.value, row)) for row in seen])
        rows: list[Tensor] = []
        for query in queries:
            asked = linear(attention.query, linear(block.query, query))
            parts: list[Tensor] = []
            for head in range(heads):
                own = slice(head * head_dim, (head + 1) * head_dim)
                weights = torch.softmax(keys[:, own] @ asked[own] / math.sqrt(head_dim), dim=0)
                parts.append(weights @ values[:, own])
            rows.append(linear(attention.out, torch.cat(parts)))
        images.append(torch.stack(rows))
    return torch.stack(images)


@pytest.mark.parametrize("has_inner_linears", [True, False])
@pytest.mark.parametrize("has_norms", [True, False])
@pytest.mark.parametrize("sees_queries", [True, False])
@pytest.mark.parametrize("grid", [Grid(3, 5), Grid(2, 3, frames=2, prefix=1)], ids=str)
@torch.no_grad()
def test_every_query_looks_once(grid: Grid, sees_queries: bool, has_norms: bool, has_inner_linears: bool) -> None:
    torch.manual_seed(0)
    block = CrossAttention(
        **SMALL, eps=1e-3, sees_queries=sees_queries, has_norms=has_norms, has_inner_linears=has_inner_linears
    ).build(DIM)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, grid.size, DIM)
    torch.testing.assert_close(block(x, grid), slow(block, x, 6), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("grid", "num"), [(Grid(4, 4), 2), (Grid(1, 4), 2), (Grid(6, 3), 5)], ids=str)
@torch.no_grad()
def test_the_longer_side_says_how_many_of_the_queries_look(grid: Grid, num: int) -> None:
    block = CrossAttention(**BY_SIDE).build(DIM)
    assert CrossAttention(**BY_SIDE).out_grid(grid) == Queries(num)
    x = torch.randn(2, grid.size, DIM)
    torch.testing.assert_close(block(x, grid), slow(block, x, num), atol=1e-5, rtol=1e-5)


def connector_of(**options: Any) -> ConnectorSpec:
    blocks = (Linear(dim=LLM), CrossAttention(**options), Norm(), Linear(dim=LLM), Activation(), Linear(dim=LLM))
    return ConnectorSpec(name="one_look", blocks=blocks)


KINDS: dict[str, dict[str, Any]] = {
    "kosmos2": {**SMALL, "sees_queries": True},
    "aria": {**BY_SIDE, "has_norms": True, "has_inner_linears": True},
}


@pytest.fixture(params=sorted(KINDS))
def connector(request: pytest.FixtureRequest) -> Connector:
    torch.manual_seed(0)
    return connector_of(**KINDS[request.param]).build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)


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
def test_a_cross_attention_keeps_the_contract(connector: Connector, check: Callable[[Connector, Grid], None]) -> None:
    check(connector, GRID)
    contract.counts_its_parameters(connector)
    contract.packs_as_it_batches(connector, GRID, Grid(6, 2))
    assert ConnectorSpec.from_dict(connector.spec.to_dict()) == connector.spec


@pytest.mark.filterwarnings("ignore:Profiler clears events:UserWarning")
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_cross_attention_states_its_peak_memory(kind: str) -> None:
    spec = ConnectorSpec(name=kind, blocks=(CrossAttention(**{**KINDS[kind], "queries_by_side": ()}),))
    contract.states_its_peak_memory(spec.build(vision_dim=256, llm_dim=256), Grid(24, 24))


def test_a_cross_attention_exports(connector: Connector) -> None:
    x = contract.random_features(connector, GRID)
    exported = torch.export.export(connector.on_grid(GRID).eval(), (x,))
    torch.testing.assert_close(exported.module()(x), connector(x, GRID))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: CrossAttention(num_queries=0), "at least 1 query and 1 head, got num_queries=0 and num_heads=8"),
        (lambda: CrossAttention(num_heads=5).build(DIM), "a cross-attention cannot divide 12 channels among 5 heads"),
        (
            lambda: CrossAttention(num_queries=4, queries_by_side=((2, 5),)),
            "queries_by_side needs every side once, with 1 to 4 queries (num_queries), got ((2, 5),)",
        ),
        (lambda: CrossAttention(queries_by_side=((2, 5), (2, 6))), "queries_by_side needs every side once"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        wrong()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid(5, 3), "whose longer side has 4, 6, 12 patches, but the grid is 5 x 3: resize the image"),
        (Grid(4, 4, frames=2), "but the grid is 2 x 4 x 4: resize the image so that its longer side fits, and pass"),
        (Grid(4, 4, prefix=1), "count queries by side works on places, but 1 + 4 x 4 begins with prefix tokens (1)"),
    ],
)
def test_a_grid_without_a_number_of_queries_is_refused(grid: Grid, message: str) -> None:
    with pytest.raises(GridError, match=re.escape(message)):
        CrossAttention(**BY_SIDE).out_grid(grid)
