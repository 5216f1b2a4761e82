"""One connector, several budgets: which, with the same weights, and what a resampler's first queries are."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from opticnerve import Grid, methods
from opticnerve.connectors import Connector, ConnectorSpec, with_budget, with_spec
from opticnerve.connectors.blocks import Resampler
from opticnerve.connectors.blocks.resampler import coarse_first
from opticnerve.errors import SpecError

GRID = Grid(8, 8)
WIDTHS = {"vision_dim": 24, "llm_dim": 16}
QUERIES: dict[str, Any] = {"query_grid": (4, 4), "head_dim": 8}


def built(spec: ConnectorSpec) -> Connector:
    torch.manual_seed(0)
    return spec.build(**WIDTHS).eval()


@pytest.mark.parametrize(
    ("spec", "num_tokens", "wanted"),
    [
        (methods.pool(factor=2), 4, methods.pool(factor=4)),
        (methods.pool(factor=4, mode="bilinear"), 64, methods.pool(factor=1, mode="bilinear")),
        (methods.ldpv2(out_grid=(4, 4)), 4, methods.ldpv2(out_grid=(2, 2))),
        (methods.tome(reduction=4), 8, methods.tome(reduction=8)),
        (methods.divprune(reduction=2), 64, methods.divprune(reduction=1)),
        (methods.every_kth(reduction=4), 16, methods.every_kth(reduction=4)),
        (methods.qwen_vl_resampler(**QUERIES), 5, methods.qwen_vl_resampler(**QUERIES, num_used=5)),
        (methods.qwen_vl_resampler(**QUERIES, num_used=4), 16, methods.qwen_vl_resampler(**QUERIES)),
        (methods.minicpm_resampler(num_queries=6), 2, methods.minicpm_resampler(num_queries=6, num_used=2)),
    ],
)
def test_a_connector_can_be_asked_for_another_budget(
    spec: ConnectorSpec, num_tokens: int, wanted: ConnectorSpec
) -> None:
    found = with_budget(spec, num_tokens=num_tokens, grid=GRID)
    assert found == wanted
    assert ConnectorSpec.from_json(found.to_json()) == found
    connector = built(spec)
    asked = with_spec(connector, found)
    mine, its = connector.state_dict(keep_vars=True), asked.state_dict(keep_vars=True)
    assert all(mine[name] is its[name] for name in mine | its)
    features = torch.randn(2, GRID.size, WIDTHS["vision_dim"])
    tokens = asked(features, GRID)
    assert tokens.shape == (2, num_tokens, WIDTHS["llm_dim"])
    alone = found.build(**WIDTHS).eval()
    alone.load_state_dict(connector.state_dict())
    assert torch.equal(tokens, alone(features, GRID))


def test_what_was_frozen_stays_frozen_when_it_is_shared() -> None:
    connector = built(methods.pool(factor=2))
    connector.requires_grad_(False)
    asked = with_spec(connector, methods.pool(factor=4))
    assert not any(parameter.requires_grad for parameter in asked.parameters())


def test_asking_for_another_budget_leaves_the_random_state_as_it_is() -> None:
    connector = built(methods.pool(factor=2))
    before = torch.get_rng_state()
    with_spec(connector, methods.pool(factor=4))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("spec", "num_tokens", "message"),
    [
        (
            methods.pool(factor=2),
            10,
            '"pool" cannot give 10 visual tokens on a 8 x 8 grid with the same weights; the nearest that it can:'
            " 1, 4, 16, 64",
        ),
        (
            methods.pixel_shuffle(factor=2),
            4,
            '"pixel_shuffle" gives 16 visual tokens on a 8 x 8 grid and, with the same weights, no other number, so'
            " not 4: take a pool, a selection or a resampler",
        ),
    ],
)
def test_a_budget_that_cannot_be_is_refused_with_those_that_can(
    spec: ConnectorSpec, num_tokens: int, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        with_budget(spec, num_tokens=num_tokens, grid=GRID)
    assert str(caught.value) == message


def test_options_that_need_other_weights_are_refused() -> None:
    with pytest.raises(SpecError, match='these options of "concat_mlp" need other weights than the connector has'):
        with_spec(built(methods.concat_mlp(factor=2)), methods.concat_mlp(factor=4))


@pytest.mark.parametrize("has_query_positions", [True, False])
@pytest.mark.parametrize("mode", ["train", "inference"])
@pytest.mark.parametrize("num_used", [1, 4, 7])
def test_the_tokens_of_fewer_queries_are_among_those_of_all(
    has_query_positions: bool, mode: Any, num_used: int
) -> None:
    options: dict[str, Any] = {"num_queries": 16, "has_query_positions": has_query_positions, "head_dim": 8}
    connector = built(methods.minicpm_resampler(**options)).double()
    fewer = with_spec(connector, methods.minicpm_resampler(**options, num_used=num_used))
    used = list(Resampler(query_grid=(4, 4), has_query_positions=has_query_positions, num_used=num_used).used)
    for grid in (GRID, Grid(6, 9)):
        features = torch.randn(2, grid.size, WIDTHS["vision_dim"], dtype=torch.float64)
        tokens = fewer.optimized(mode=mode, grid=GRID)(features, grid)
        torch.testing.assert_close(tokens, connector(features, grid)[:, used])
    assert fewer.spec.flops(GRID, **WIDTHS) < connector.spec.flops(GRID, **WIDTHS)


def test_fewer_queries_are_always_among_more_and_lie_all_over_the_grid() -> None:
    for rows, cols in ((4, 4), (8, 8), (6, 9), (1, 5)):
        assert sorted(coarse_first(rows, cols)) == list(range(rows * cols))
        used = [set(Resampler(query_grid=(rows, cols), num_used=count).used) for count in range(1, rows * cols)]
        assert all(fewer < more for fewer, more in pairwise(used))
    quarter = Resampler(query_grid=(8, 8), num_used=16)
    assert quarter.used == tuple(8 * row + col for row in range(0, 8, 2) for col in range(0, 8, 2))
    assert quarter.out_grid(GRID).spread == (4, 4)
    assert Resampler(query_grid=(8, 8), num_used=15).out_grid(GRID).spread is None
    assert Resampler(query_grid=(8, 8), has_query_positions=False, num_used=3).used == (0, 1, 2)


@pytest.mark.parametrize("num_used", [-1, 17])
def test_queries_that_are_not_there_cannot_be_used(num_used: int) -> None:
    with pytest.raises(SpecError) as caught:
        methods.qwen_vl_resampler(**QUERIES, num_used=num_used)
    assert str(caught.value) == (
        f"a resampler of 4 x 4 queries can use 1 to 16 of them, or all (0), got num_used={num_used}"
    )
