"""A Q-Former whose queries look at the features themselves, and talk for the first time before any image comes."""

from abc import abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from typing import ClassVar, cast

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks import QFormer
from opticnerve.connectors.blocks.attention import Attention
from opticnerve.connectors.blocks.qformer import QFormerBlock, QFormerLayer
from opticnerve.connectors.rewrites.absorbed_attention import by_head, look_at, map_heads
from opticnerve.connectors.rewrites.base import Cost, Placed, Rewrite, Step
from opticnerve.connectors.rewrites.looks import together
from opticnerve.connectors.rewrites.through_norm import hold, pieces, wide
from opticnerve.grid import Places

_MOST_ROWS = 64
"""Rows of absorbed queries that look together; each is as wide as the features."""


class CachedTalk(Rewrite):
    """A Q-Former that begins with queries that have talked: the first self-attention sees no image."""

    name: ClassVar[str] = "cached talk"
    why: ClassVar[str] = "the queries of the first self-attention are the same for all images"
    holds_in_training: ClassVar[bool] = False

    @override
    def match(self, blocks: Sequence[Placed]) -> int:
        # a Q-Former that reads text is a subclass, and talks to its words from the beginning
        return 1 if blocks and type(blocks[0].spec) is QFormer else 0

    @override
    def cost(self, blocks: Sequence[Placed]) -> Cost:
        block = blocks[0]
        return Cost(flops=block.flops - _talk_flops(_spec(block)), values=block.values)

    @override
    def build(self, blocks: Sequence[Placed], modules: nn.ModuleList) -> Step:
        return TalkedQFormer(blocks[0], modules)


class AbsorbedQFormer(CachedTalk):
    """The same, and each look takes the key map into the queries and maps the mean feature to values."""

    name: ClassVar[str] = "absorbed Q-Former"
    why: ClassVar[str] = "q (W x) is (q W) x, and a mean of mapped features is the map of their mean"

    @override
    def cost(self, blocks: Sequence[Placed]) -> Cost:
        block, spec = blocks[0], _spec(blocks[0])
        queries, rows = spec.num_queries, spec.num_queries * spec.num_heads
        keys, dim, hidden = block.places.size, block.dim, spec.hidden_dim
        looks = sum(map(spec.looks, range(spec.num_layers)))
        before = spec.attention_flops(queries=queries, keys=keys, key_dim=dim)
        after = 4 * queries * hidden * (hidden + dim) + 4 * rows * keys * dim
        flops = block.flops - _talk_flops(spec) + looks * (after - before)
        together_rows = together(spec.num_heads, each=queries, most=_MOST_ROWS) * queries
        widest = max(3 * together_rows * dim + 3 * queries * hidden, queries * spec.feed_forward_dim)
        return Cost(flops=flops, values=keys * dim + queries * hidden + widest)

    @override
    def build(self, blocks: Sequence[Placed], modules: nn.ModuleList) -> Step:
        return LookingQFormer(blocks[0], modules)


def _spec(block: Placed) -> QFormer:
    return cast("QFormer", block.spec)


def _talk_flops(spec: QFormer) -> int:
    return spec.attention_flops(queries=spec.num_queries, keys=spec.num_queries, key_dim=spec.hidden_dim)


class QFormerStep(Step):
    """A Q-Former from its first look on."""

    talked: Float[Tensor, "queries hidden"]

    def __init__(self, placed: Placed, modules: nn.ModuleList) -> None:
        super().__init__()
        self.index = placed.index
        self.spec = _spec(placed)
        block = cast("QFormerBlock", modules[self.index])
        hold(self, "talked", _talk(block), like=block.queries)

    @override
    def out_grid(self, grid: Places) -> Places:
        return self.spec.out_grid(grid)

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places, blocks: nn.ModuleList
    ) -> Float[Tensor, "batch out_positions out_dim"]:
        block = cast("QFormerBlock", blocks[self.index])
        queries = self.talked.expand(features.shape[0], -1, -1)
        for index, layer in enumerate(cast("Sequence[QFormerLayer]", block.layers)):
            if index:
                queries = layer.talk(queries, queries)
            queries = self.look_and_think(layer, queries, features)
        return queries

    @abstractmethod
    def look_and_think(
        self,
        layer: QFormerLayer,
        queries: Float[Tensor, "batch queries hidden"],
        features: Float[Tensor, "batch positions dim"],
    ) -> Float[Tensor, "batch queries hidden"]:
        """Apply a layer to queries that have talked."""


class TalkedQFormer(QFormerStep):
    """Layers as they are."""

    @override
    def look_and_think(
        self,
        layer: QFormerLayer,
        queries: Float[Tensor, "batch queries hidden"],
        features: Float[Tensor, "batch positions dim"],
    ) -> Float[Tensor, "batch queries hidden"]:
        return layer.look_and_think(queries, features)


class LookingQFormer(QFormerStep):
    """Layers whose queries look at the features themselves."""

    @override
    def look_and_think(
        self,
        layer: QFormerLayer,
        queries: Float[Tensor, "batch queries hidden"],
        features: Float[Tensor, "batch positions dim"],
    ) -> Float[Tensor, "batch queries hidden"]:
        if layer.look is not None:
            queries = layer.look.norm(queries + absorbed(layer.look.attention, queries, features))
        return layer.think(queries)


def absorbed(
    attention: Attention,
    queries: Float[Tensor, "batch queries hidden"],
    features: Float[Tensor, "batch positions dim"],
) -> Float[Tensor, "batch queries hidden"]:
    """Attend as `Attention` does, without making keys and values.

    The key bias adds the same to all scores of a query, so the softmax does not feel it.

    Args:
        attention: whose parameters are used; all its heads have keys and values of their own, without norms.
        queries: what looks.
        features: what is looked at.
    """
    heads = attention.num_heads
    key, value = (by_head(part.weight, heads) for part in (attention.key, attention.value))
    projected = rearrange(attention.query(queries) * key.shape[1] ** -0.5, "b q (h c) -> b q h c", h=heads)
    group = together(heads, each=queries.shape[1], most=_MOST_ROWS)
    parts = zip(pieces(projected, group, dim=2), pieces(key, group), pieces(value, group), strict=True)
    mixed = torch.cat([_look_in_part(features, *part) for part in parts], dim=-1)
    return attention.out(mixed + attention.value.bias)


def _look_in_part(
    features: Float[Tensor, "batch positions dim"],
    queries: Float[Tensor, "batch queries heads head_dim"],
    key: Float[Tensor, "heads head_dim dim"],
    value: Float[Tensor, "heads head_dim dim"],
) -> Float[Tensor, "batch queries width"]:
    taken_in = rearrange(einsum(queries, key, "b q h c, h c d -> b h q d"), "b h q d -> b (h q) d")
    return map_heads(look_at(features, taken_in), value)


def _talk(block: QFormerBlock) -> Tensor:
    """Let the queries talk for the first time, in float64."""
    queries = wide(block.queries)
    norm, first = (
        deepcopy(part).to(queries) for part in (block.norm, cast("Sequence[QFormerLayer]", block.layers)[0].talk)
    )
    with torch.no_grad():
        normed = norm(queries)[None]
        return first(normed, normed)[0]
