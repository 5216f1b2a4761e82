"""Diverse selection: the patches that are least alike stay."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block
from opticnerve.connectors.blocks.reduction import Reduce, ReduceBlock, Reduction, in_full_precision, unit
from opticnerve.connectors.blocks.spreading import spread_out
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class DiverseSelection(Reduce):
    """Keep one patch for every `reduction`, such that the smallest cosine distance between kept ones is large.

    The first is the patch whose nearest other patch is farthest; then, again and again, the one that is farthest from
    all that are kept. The others are dropped.

    Source: Alvar et al., "DivPrune", 2025, section 3 (max-min diversity, solved greedily).
    Differs: works on the encoder's features, before the projection instead of behind it.
    """

    kind: ClassVar[str] = "diverse_selection"

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return 2 * self.patches(grid).num_patches ** 2 * dim

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        num = self.patches(grid).num_patches
        return 2 * (num * dim + num**2)

    @override
    def build(self, dim: int) -> Block:
        return DiverseSelectionBlock(self)


class DiverseSelectionBlock(ReduceBlock):
    """Applies `DiverseSelection`."""

    def __init__(self, spec: DiverseSelection) -> None:
        super().__init__()
        self.spec = spec

    @override
    def reduce(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Reduction:
        return select_diverse(features, keep=self.spec.num_kept(grid))

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch kept dim"]:
        return self.reduce(features, grid).take(features)


def select_diverse(features: Float[Tensor, "batch patches dim"], *, keep: int) -> Reduction:
    """Choose patches that are far from each other by cosine distance.

    Args:
        features: in raster order.
        keep: patches that are kept.
    """
    with in_full_precision(features):
        keys = unit(features)
        distances = 1 - keys @ rearrange(keys, "b n d -> b d n")
        is_self = torch.eye(features.shape[1], dtype=torch.bool, device=features.device)
        to_others = distances.masked_fill(is_self, torch.inf)
        # two patches that are each other's nearest are equally far, which rounding must not decide
        first = torch.minimum(to_others.amin(-1), to_others.amin(-2)).argmax(-1)
        return spread_out(distances, first=first, keep=keep)
