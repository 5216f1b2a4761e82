"""Farthest-point sampling among features."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block
from opticnerve.connectors.blocks.reduction import Reduce, ReduceBlock, Reduction, in_full_precision
from opticnerve.connectors.blocks.spreading import spread_out
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class FarthestPoint(Reduce):
    """Keep one patch for every `reduction`, far from each other by the Euclidean distance of their features.

    The first is the patch that is farthest from the mean of all; then, again and again, the one that is farthest from
    all that are kept. The others are dropped.

    Source: Eldar et al., "The Farthest Point Strategy for Progressive Image Sampling", 1997; Qi et al., "PointNet++",
    2017, section 3.2.
    Differs: the distance is that of features, not of places; the start is not random.
    """

    kind: ClassVar[str] = "farthest_point"

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return 2 * self.patches(grid).num_patches ** 2 * dim

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        num = self.patches(grid).num_patches
        return 2 * (num * dim + num**2)

    @override
    def build(self, dim: int) -> Block:
        return FarthestPointBlock(self)


class FarthestPointBlock(ReduceBlock):
    """Applies `FarthestPoint`."""

    def __init__(self, spec: FarthestPoint) -> None:
        super().__init__()
        self.spec = spec

    @override
    def reduce(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Reduction:
        return select_farthest(features, keep=self.spec.num_kept(grid))

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch kept dim"]:
        return self.reduce(features, grid).take(features)


def select_farthest(features: Float[Tensor, "batch patches dim"], *, keep: int) -> Reduction:
    """Choose patches that are far from each other by Euclidean distance.

    Args:
        features: in raster order.
        keep: patches that are kept.
    """
    with in_full_precision(features):
        points = features.detach().float()
        points = points - points.mean(1, keepdim=True)  # distances stay, and less of them cancels below
        squares = points.square().sum(-1)
        sums = squares[:, :, None] + squares[:, None, :]
        distances = torch.baddbmm(sums, points, rearrange(points, "b n d -> b d n"), alpha=-2)
        return spread_out(distances, first=squares.argmax(-1), keep=keep)
