"""Make a resampler's keys and values straight from the features, through the Linear and the norm in front."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.resampler import ResamplerBlock
from opticnerve.connectors.rewrites.base import Cost, Placed, Rewrite, Step
from opticnerve.connectors.rewrites.cached_queries import KeysAndValues, keys_and_values_cost
from opticnerve.connectors.rewrites.looks import Look, find_look, front_of, resampler
from opticnerve.connectors.rewrites.through_norm import Affine, compose, hold, pieces


class ComposedAttention(Rewrite):
    """Linear, layer norm, resampler: one product from features to keys, and one to values.

    The norm's mean is taken off the weights, and its variance is a quadratic form of the features.
    """

    name: ClassVar[str] = "composed attention"
    why: ClassVar[str] = "a norm is linear but for its deviation, which the features tell without the Linear in front"
    holds_in_training: ClassVar[bool] = False

    @override
    def match(self, blocks: Sequence[Placed]) -> int:
        look = find_look(blocks, has_front=True)
        return look.count if look else 0

    @override
    def cost(self, blocks: Sequence[Placed]) -> Cost:
        look = find_look(blocks, has_front=True)
        assert look is not None
        return keys_and_values_cost(look)

    @override
    def build(self, blocks: Sequence[Placed], modules: nn.ModuleList) -> Step:
        look = find_look(blocks, has_front=True)
        assert look is not None
        return ComposedKeysAndValues(look, modules)


class ComposedKeysAndValues(KeysAndValues):
    """Keys and values by composed weights."""

    key: Float[Tensor, "dim in_dim"]
    value: Float[Tensor, "dim in_dim"]

    def __init__(self, look: Look, modules: nn.ModuleList) -> None:
        super().__init__(look, modules)
        block = resampler(modules, self.index)
        first, norm = front_of(look, modules)
        assert first is not None
        assert norm is not None
        for name, linear in (("key", block.attention.key), ("value", block.attention.value)):
            hold(self, name, compose(Affine.of(linear), norm, first).weight, like=block.queries)

    @override
    def weights(self, block: ResamplerBlock, width: int) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(pieces(self.key, width), pieces(self.value, width), strict=True)
