"""Pool before the last Linear instead of after it."""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn
from typing_extensions import override

from opticnerve.connectors.blocks import AdaptivePool, BlockSpec, Linear, Pool
from opticnerve.connectors.rewrites.base import Cost, InOrder, Placed, Rewrite, Step


class EarlyPool(Rewrite):
    """Linear, then a mean of tokens: the mean first, then the Linear on what is left."""

    name: ClassVar[str] = "early pool"
    why: ClassVar[str] = "a weighted mean over tokens whose weights add up to 1 commutes with a Linear over channels"
    holds_in_training: ClassVar[bool] = True

    @override
    def match(self, blocks: Sequence[Placed]) -> int:
        if len(blocks) < 2 or not isinstance(blocks[0].spec, Linear) or not _is_mean(blocks[1].spec):
            return 0
        return 2 if blocks[1].out_places.size < blocks[0].places.size else 0

    @override
    def cost(self, blocks: Sequence[Placed]) -> Cost:
        return Cost.of(_swapped(blocks))

    @override
    def build(self, blocks: Sequence[Placed], modules: nn.ModuleList) -> Step:
        del modules
        return InOrder(_swapped(blocks))


def _is_mean(spec: BlockSpec) -> bool:
    """Say whether a block averages tokens; a maximum does not commute."""
    return isinstance(spec, AdaptivePool) or (isinstance(spec, Pool) and spec.mode in ("average", "bilinear"))


def _swapped(blocks: Sequence[Placed]) -> tuple[Placed, Placed]:
    linear, pool = blocks
    early = Placed(spec=pool.spec, index=pool.index, dim=linear.dim, places=linear.places)
    late = Placed(spec=linear.spec, index=linear.index, dim=linear.dim, places=early.out_places)
    return early, late
