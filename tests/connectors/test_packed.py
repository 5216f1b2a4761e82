"""Packed images of any order: once through the connector for each distinct grid, and nothing moves that need not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from connectors.small import LLM_DIM, VISION_DIM, small
from opticnerve import Connector, Grid, method
from opticnerve.connectors.blocks import TextTokens

GRIDS = (Grid(4, 4), Grid(2, 8), Grid(4, 6), Grid(8, 2))


def pooled() -> Connector:
    torch.manual_seed(0)
    return small("pool").build(vision_dim=VISION_DIM, llm_dim=LLM_DIM).double()


def one_by_one(connector: Connector, features: Tensor, grids: list[Grid]) -> Tensor:
    pieces = features.split([grid.size for grid in grids])
    return torch.cat([connector(piece[None], grid)[0] for piece, grid in zip(pieces, grids, strict=True)])


@settings(deadline=None, max_examples=40)
@given(grids=st.lists(st.sampled_from(GRIDS), min_size=1, max_size=9))
def test_images_in_any_order_have_the_tokens_and_gradients_that_each_has_alone(grids: list[Grid]) -> None:
    connector = pooled()
    seen: list[tuple[int, Grid]] = []
    connector.register_forward_pre_hook(lambda _, args: seen.append((len(args[0]), args[1])))
    features = torch.randn(sum(grid.size for grid in grids), VISION_DIM, dtype=torch.float64, requires_grad=True)
    tokens, places = connector.packed(features, grids)
    assert places == tuple(connector.spec.out_grid(grid) for grid in grids)
    assert seen == [(grids.count(grid), grid) for grid in dict.fromkeys(grids)]
    wanted = one_by_one(connector, features, grids)
    torch.testing.assert_close(tokens, wanted)
    weight = torch.randn_like(tokens)
    given_gradient, wanted_gradient = (
        torch.autograd.grad((each * weight).sum(), features) for each in (tokens, wanted)
    )
    torch.testing.assert_close(given_gradient, wanted_gradient)


def test_neighbours_of_one_grid_are_not_copied() -> None:
    connector = pooled()
    starts: list[int] = []
    connector.register_forward_pre_hook(lambda _, args: starts.append(args[0].data_ptr()))
    grids = [GRIDS[0], GRIDS[0], GRIDS[2], GRIDS[2], GRIDS[2]]
    features = torch.randn(sum(grid.size for grid in grids), VISION_DIM, dtype=torch.float64)
    connector.packed(features, grids)
    assert starts == [features.data_ptr(), features[2 * GRIDS[0].size :].data_ptr()]


def test_features_that_do_not_lie_side_by_side_in_memory_can_be_packed() -> None:
    connector, grids = pooled(), [GRIDS[0], GRIDS[2], GRIDS[0]]
    features = torch.randn(VISION_DIM, sum(grid.size for grid in grids), dtype=torch.float64).T
    torch.testing.assert_close(connector.packed(features, grids)[0], one_by_one(connector, features, grids))


def test_each_image_keeps_its_own_instruction() -> None:
    torch.manual_seed(0)
    options = {"num_queries": 4, "hidden_dim": 24, "num_layers": 2, "num_heads": 4, "feed_forward_dim": 48}
    spec = method("qformer", **options, reads_text=True, vocab_size=12, max_text_length=4)
    connector = spec.build(vision_dim=VISION_DIM, llm_dim=LLM_DIM)
    grids = [GRIDS[0], GRIDS[2], GRIDS[0], GRIDS[0]]
    ids = torch.arange(12).reshape(4, 3)
    text = TextTokens(ids=ids, mask=torch.ones(4, 3, dtype=torch.bool))
    features = torch.randn(sum(grid.size for grid in grids), VISION_DIM)
    tokens, _ = connector.packed(features, grids, text=text)
    pieces = features.split([grid.size for grid in grids])
    alone = [
        connector(piece[None], grid, text=text.rows([image]))[0]
        for image, (piece, grid) in enumerate(zip(pieces, grids, strict=True))
    ]
    torch.testing.assert_close(tokens, torch.cat(alone), atol=1e-5, rtol=1e-5)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(tokens, connector.packed(features, grids, text=text.rows([3, 1, 2, 0]))[0])
