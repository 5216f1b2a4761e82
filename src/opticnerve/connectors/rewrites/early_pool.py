"""Pool before the last Linear instead of after it."""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn
from typing_extensions import override

from opticnerve.connectors.blocks import AdaptivePool, BlockSpec, FitWidth, Linear, Pool
from opticnerve.connectors.rewrites.base import Cost, InOrder, Placed, Rewrite, Step


class EarlyPool(Rewrite):
    """Linears, then a mean of tokens: the mean first, then the Linears on what is left."""

    name: ClassVar[str] = "early pool"
    why: ClassVar[str] = "a weighted mean over tokens whose weights add up to 1 commutes with a Linear over channels"
    holds_in_training: ClassVar[bool] = True

    @override
    def match(self, blocks: Sequence[Placed]) -> int:
        count = 0
        while count < len(blocks) and isinstance(blocks[count].spec, Linear | FitWidth):
            count += 1
        if not count or count == len(blocks) or not _is_mean(blocks[count].spec):
            return 0
        return count + 1 if blocks[count].out_places.size < blocks[count].places.size else 0

    @override
    def cost(self, blocks: Sequence[Placed]) -> Cost:
        return Cost.of(self.swapped(blocks))

    @override
    def build(self, blocks: Sequence[Placed], modules: nn.ModuleList) -> Step:
        del modules
        return InOrder(self.swapped(blocks))

    def swapped(self, blocks: Sequence[Placed]) -> tuple[Placed, ...]:
        """Return the blocks in the order in which they are computed, each where it then stands.

        Args:
            blocks: those that matched.
        """
        *linears, pool = blocks
        first = linears[0]
        early = Placed(spec=pool.spec, index=pool.index, dim=first.dim, places=first.places)
        late = (Placed(spec=one.spec, index=one.index, dim=one.dim, places=early.out_places) for one in linears)
        return early, *late


def _is_mean(spec: BlockSpec) -> bool:
    """Say whether a block averages tokens; a maximum does not commute.

    What is left over on odd grids does no harm: dropped, reflected or shared patches are weights of a mean as well.
    """
    return isinstance(spec, AdaptivePool) or (isinstance(spec, Pool) and spec.mode in ("average", "bilinear"))
