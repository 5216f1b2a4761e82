"""Compute once what does not depend on the image: a resampler's queries, and the positions of its keys."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.positions import add_to_frames
from opticnerve.connectors.blocks.resampler import ResamplerBlock
from opticnerve.connectors.rewrites.base import Cost, Placed, Rewrite, Step
from opticnerve.connectors.rewrites.key_places import KeyPlaces, key_weight
from opticnerve.connectors.rewrites.looks import Look, LookStep, find_look, projected_queries, resampler
from opticnerve.connectors.rewrites.through_norm import hold, pieces
from opticnerve.grid import Grid


class CachedQueries(Rewrite):
    """A resampler whose projected queries and projected key positions are held; also the way out, in one product."""

    name: ClassVar[str] = "cached queries"
    why: ClassVar[str] = "no image changes the queries, nor the places of the keys, so their products are made once"
    holds_in_training: ClassVar[bool] = False

    @override
    def match(self, blocks: Sequence[Placed]) -> int:
        look = find_look(blocks, has_front=False)
        return look.count if look else 0

    @override
    def cost(self, blocks: Sequence[Placed]) -> Cost:
        look = find_look(blocks, has_front=False)
        assert look is not None
        return keys_and_values_cost(look)

    @override
    def build(self, blocks: Sequence[Placed], modules: nn.ModuleList) -> Step:
        look = find_look(blocks, has_front=False)
        assert look is not None
        return KeysAndValues(look, modules)


class KeysAndValues(LookStep):
    """Keys and values of a few heads at a time, so that those of all heads are never held together."""

    queries: Float[Tensor, "heads queries head_dim"]

    def __init__(self, look: Look, modules: nn.ModuleList) -> None:
        super().__init__(look, modules)
        block = resampler(modules, self.index)
        self.group = look.group
        hold(self, "queries", projected_queries(block), like=block.queries)
        self.places = KeyPlaces(block, look.grid, key_weight)

    @override
    def mean_of_values(
        self, features: Float[Tensor, "batch positions dim"], grid: Grid, block: ResamplerBlock
    ) -> Float[Tensor, "batch queries width"]:
        places = self.places(grid, block)
        heads, _, head_dim = self.queries.shape
        width = self.group * head_dim
        mixed: list[Tensor] = []
        for first, (key, value) in zip(range(0, heads, self.group), self.weights(block, width), strict=True):
            keys = F.linear(features, key)
            keys = add_to_frames(keys, places[:, first * head_dim : first * head_dim + width])
            queries = self.queries[first : first + self.group].expand(features.shape[0], -1, -1, -1)
            k, v = (rearrange(x, "b n (h c) -> b h n c", h=self.group) for x in (keys, F.linear(features, value)))
            mixed.append(rearrange(F.scaled_dot_product_attention(queries, k, v), "b h n c -> b n (h c)"))
        return torch.cat(mixed, dim=-1)

    def weights(self, block: ResamplerBlock, width: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the weights of keys and values.

        What is added to all keys changes no attention, so keys have no bias here.

        Args:
            block: the resampler.
            width: channels of keys at a time.
        """
        attention = block.attention
        return zip(pieces(attention.key.weight, width), pieces(attention.value.weight, width), strict=True)


def keys_and_values_cost(look: Look) -> Cost:
    """Count a resampler whose queries are held, and whose keys and values are made from what enters the first block."""
    keys, queries, dim = look.grid.size, look.spec.num_queries, look.core.dim
    width = look.group * dim // look.num_heads
    products = 4 * keys * look.in_dim * dim + 4 * queries * keys * dim
    looking = look.scaled_values + 3 * keys * width + 2 * queries * dim
    finishing = look.grid.size * look.in_dim + look.finish_values
    return Cost(flops=look.scale_flops + products + look.finish_flops, values=max(looking, finishing))
