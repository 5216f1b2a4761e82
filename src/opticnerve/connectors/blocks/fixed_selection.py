"""Fixed selection: patches that stay by their place alone, whatever is in the image. Baselines."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block
from opticnerve.connectors.blocks.reduction import Reduce, ReduceBlock, Reduction
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Places

_WORD = 2**32 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomPatches(Reduce):
    """Keep patches at random, one of every `reduction`: the same places for all images of a grid.

    Source: a baseline.
    """

    kind: ClassVar[str] = "random_patches"

    seed: int = 0
    """Another seed keeps other patches."""

    @override
    def __post_init__(self) -> None:
        Reduce.__post_init__(self)
        if self.seed < 0:
            raise SpecError(f"random_patches needs a seed of at least 0, got {self.seed}")

    def kept(self, grid: Places) -> Int[Tensor, " kept"]:
        """List the positions that stay, in raster order."""
        return random_positions(self.patches(grid).num_patches, keep=self.num_kept(grid), seed=self.seed)

    @override
    def build(self, dim: int) -> Block:
        return FixedSelectionBlock(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class EveryKth(Reduce):
    """Keep every `reduction`-th patch, counted block by block, so that they are even over rows and columns.

    A block has `reduction` patches and is as nearly square as whole sides allow: 2 x 2 for 4, 2 x 3 for 6, 1 x 5 for 5.
    Blocks follow each other in raster order. Where they fit the grid, the first patch of each stays; else the blocks at
    the edges are smaller and the count runs on. Along the raster, every 4th patch would be one of every four columns.

    Source: a baseline.
    """

    kind: ClassVar[str] = "every_kth"

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a block."""
        sides = [side for side in range(1, self.reduction + 1) if self.reduction % side == 0]
        rows = max(side for side in sides if side**2 <= self.reduction)
        return rows, self.reduction // rows

    def kept(self, grid: Places) -> Int[Tensor, " kept"]:
        """List the positions that stay, in raster order."""
        return even_positions(self.patches(grid), block=self.block, keep=self.num_kept(grid))

    @override
    def build(self, dim: int) -> Block:
        return FixedSelectionBlock(self)


class FixedSelectionBlock(ReduceBlock):
    """Applies `RandomPatches` and `EveryKth`."""

    def __init__(self, spec: RandomPatches | EveryKth) -> None:
        super().__init__()
        self.spec = spec

    @override
    def reduce(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Reduction:
        kept = self.spec.kept(grid).to(features.device)
        merged = nearest_places(kept, self.spec.patches(grid))
        return Reduction(kept=kept.expand(features.shape[0], -1), merged=merged.expand(features.shape[0], -1))

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch kept dim"]:
        return features[:, self.spec.kept(grid).to(features.device)]


def random_positions(num: int, *, keep: int, seed: int) -> Int[Tensor, " kept"]:
    """Choose positions at random, in raster order: the same on every machine.

    The order is that of scrambled numbers, since the numbers of torch's and Python's generators cannot be part of an
    exported program.

    Args:
        num: positions to choose from.
        keep: how many.
        seed: another one gives others.
    """
    x = (torch.arange(num) + seed * 0x9E3779B9 % 2**32) & _WORD
    for shift, factor in ((16, 0x7FEB352D), (15, 0x2C1B3C6D), (12, 0x297A2D39)):
        x = ((x ^ (x >> shift)) * factor) & _WORD  # no two become one; a product stays below 2**63
    return (x ^ (x >> 15)).argsort()[:keep].sort().values


def even_positions(grid: Grid, *, block: tuple[int, int], keep: int) -> Int[Tensor, " kept"]:
    """Choose positions at equal steps along the blocks of a grid, from the first on, in raster order.

    Args:
        grid: what to choose from; its frames follow each other.
        block: rows and columns of a block.
        keep: how many.
    """
    (frames, rows, cols), (high, wide) = _places(grid), block
    number = frames * -(-grid.rows // high) + rows // high
    number = number * -(-grid.cols // wide) + cols // wide
    number = (number * high + rows % high) * wide + cols % wide
    return number.argsort()[torch.arange(keep) * grid.num_patches // keep].sort().values


def nearest_places(kept: Int[Tensor, " kept"], grid: Grid) -> Int[Tensor, " patches"]:
    """Say which kept patch lies nearest to each patch; of equal ones the first. A frame counts as far as a row.

    Args:
        kept: positions on the grid.
        grid: where they lie.
    """
    places = torch.stack(_places(grid), dim=-1).to(kept.device)
    apart = rearrange(places, "n place -> n 1 place") - places[kept]
    return apart.square().sum(-1).argmin(-1)


def _places(grid: Grid) -> tuple[Int[Tensor, " patches"], Int[Tensor, " patches"], Int[Tensor, " patches"]]:
    number = torch.arange(grid.num_patches)
    return number // (grid.rows * grid.cols), number // grid.cols % grid.rows, number % grid.cols
