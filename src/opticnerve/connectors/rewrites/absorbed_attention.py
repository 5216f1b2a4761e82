"""Let a resampler's few queries look at the features themselves: keys and values are never made."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.resampler import ResamplerBlock
from opticnerve.connectors.rewrites.base import Cost, Placed, Rewrite, Step
from opticnerve.connectors.rewrites.key_places import KeyPlaces
from opticnerve.connectors.rewrites.looks import (
    Look,
    LookStep,
    find_look,
    front_of,
    projected_queries,
    resampler,
    together,
)
from opticnerve.connectors.rewrites.through_norm import Affine, compose, hold, pieces, wide
from opticnerve.grid import Grid

_MOST_ROWS = 512
"""Rows of absorbed queries that look together; each is as wide as the features."""


class AbsorbedAttention(Rewrite):
    """A resampler, with or without a Linear and a layer norm in front, whose queries take in its key map.

    Scores are q (W x) = (q W) x, and the mean of values is A (W x) = W (A x), head by head. It pays where there are
    fewer queries than a head has channels.
    """

    name: ClassVar[str] = "absorbed attention"
    why: ClassVar[str] = "q (W x) is (q W) x, and a mean of mapped features is the map of their mean"
    holds_in_training: ClassVar[bool] = False

    @override
    def match(self, blocks: Sequence[Placed]) -> int:
        look = _find(blocks)
        return look.count if look else 0

    @override
    def cost(self, blocks: Sequence[Placed]) -> Cost:
        look = _find(blocks)
        assert look is not None
        keys, queries, dim = look.grid.size, look.spec.num_queries, look.core.dim
        products = 4 * look.num_heads * queries * keys * look.in_dim + 2 * queries * look.in_dim * dim
        rows = together(look.num_heads, each=queries, most=_MOST_ROWS) * queries
        looking = look.scaled_values + 2 * rows * look.in_dim + 2 * queries * dim
        finishing = keys * look.in_dim + look.finish_values
        return Cost(flops=look.scale_flops + products + look.finish_flops, values=max(looking, finishing))

    @override
    def build(self, blocks: Sequence[Placed], modules: nn.ModuleList) -> Step:
        look = _find(blocks)
        assert look is not None
        return Absorbed(look, modules)


class Absorbed(LookStep):
    """Absorbed queries that look at the features, some heads at a time."""

    queries: Float[Tensor, "rows in_dim"]
    value: Float[Tensor, "heads head_dim in_dim"]

    def __init__(self, look: Look, modules: nn.ModuleList) -> None:
        super().__init__(look, modules)
        block = resampler(modules, self.index)
        self.num_heads = look.num_heads
        self.group = together(look.num_heads, each=self.spec.num_queries, most=_MOST_ROWS)
        key, value = Affine.of(block.attention.key), Affine.of(block.attention.value)
        first, norm = front_of(look, modules)
        if first is not None and norm is not None:
            key, value = compose(key, norm, first), compose(value, norm, first)
        hold(self, "queries", absorb(projected_queries(block), key.weight), like=block.queries)
        hold(self, "value", by_head(value.weight, self.num_heads), like=block.queries)
        self.places = KeyPlaces(block, look.grid, place_scores)
        self.places.at = self.places.at.T.contiguous().T  # it is read transposed

    @override
    def mean_of_values(
        self, features: Float[Tensor, "batch positions dim"], grid: Grid, block: ResamplerBlock
    ) -> Float[Tensor, "batch queries width"]:
        scores = self.places(grid, block).T
        rows = self.group * self.spec.num_queries
        mixed: list[Tensor] = []
        parts = zip(pieces(self.queries, rows), pieces(scores, rows), pieces(self.value, self.group), strict=True)
        for queries, added, value in parts:
            added = added.repeat(1, grid.frames) if grid.frames > 1 else added.contiguous()
            seen = look_at(features, queries.expand(features.shape[0], -1, -1), added)
            mixed.append(map_heads(seen, value))
        return torch.cat(mixed, dim=-1)


def look_at(
    features: Float[Tensor, "batch positions dim"],
    queries: Float[Tensor, "batch rows dim"],
    scores: Float[Tensor, "rows positions"] | None = None,
) -> Float[Tensor, "batch rows dim"]:
    """Take means of features, weighted by the softmax of their products with absorbed queries.

    Args:
        features: keys and values at once.
        queries: a row for each query of each head, scaled already.
        scores: added to the products.
    """
    seen = features[:, None]
    return F.scaled_dot_product_attention(queries[:, None], seen, seen, attn_mask=scores, scale=1.0)[:, 0]


def map_heads(
    seen: Float[Tensor, "batch rows dim"], value: Float[Tensor, "heads head_dim dim"]
) -> Float[Tensor, "batch queries width"]:
    """Map the mean features of each head to its values, and put the heads side by side.

    Args:
        seen: a row for each query of each head, one head after another.
        value: the map of each head.
    """
    heads = rearrange(seen, "b (h q) d -> b h q d", h=len(value))
    return rearrange(einsum(heads, value, "b h q d, h c d -> b q h c"), "b q h c -> b q (h c)")


def absorb(
    queries: Float64[Tensor, "heads queries head_dim"], weight: Float64[Tensor, "width dim"]
) -> Float64[Tensor, "rows dim"]:
    """Multiply each head's queries by its part of the key map, and scale them as attention does.

    Args:
        queries: of each head.
        weight: the key map of all heads.
    """
    heads, _, head_dim = queries.shape
    absorbed = queries @ by_head(weight, heads)
    return rearrange(absorbed * head_dim**-0.5, "h q d -> (h q) d")


def by_head(weight: Float[Tensor, "width dim"], heads: int) -> Float[Tensor, "heads head_dim dim"]:
    """Take the map of all heads apart."""
    return rearrange(weight, "(h c) d -> h c d", h=heads)


def place_scores(block: ResamplerBlock) -> Float64[Tensor, "rows dim"]:
    """Return the map from positions to what they add to the scores."""
    return absorb(projected_queries(block), wide(block.attention.key.weight))


def _find(blocks: Sequence[Placed]) -> Look | None:
    return find_look(blocks, has_front=True) or find_look(blocks, has_front=False)
