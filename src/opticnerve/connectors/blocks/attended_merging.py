"""Attended merging: the patches that the image's summary looks at stay, and take in what is like them."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block
from opticnerve.connectors.blocks.reduction import Reduce, ReduceBlock, Reduction, in_full_precision, rows, unit
from opticnerve.grid import Grid, Places


@dataclass(frozen=True, kw_only=True, slots=True)
class AttendedMerging(Reduce):
    """Keep the most attended patches, one for every `reduction`, and merge each other one into the one most like it.

    A token is the mean of its patches, each weighted by its attention. There is no attention map here; in its place
    stands softmax(q k / sqrt(dim)) of one head without learned maps: the keys are the patches' features; the query is
    the first prefix token (CLS) where the grid has prefix tokens, else the mean of the patches; all scaled to length
    sqrt(dim). Prefix tokens do not come out.

    Source: Shang et al., "LLaVA-PruMerge", 2024, section 3; Yang et al., "VisionZip", 2024, section 3.
    Differs: the attention is computed from the features, see above; their number is given, not found by outliers; a
    kept patch takes in all that are nearest to it by cosine, instead of its k nearest; weights add up to 1.
    """

    kind: ClassVar[str] = "attended_merging"

    @override
    def patches(self, grid: Places) -> Grid:
        return grid.without_prefix if isinstance(grid, Grid) else grid.spatial("choose patches")

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return 2 * self.patches(grid).num_patches * dim * (1 + self.num_kept(grid))

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        num, keep = self.patches(grid).num_patches, self.num_kept(grid)
        return (grid.size + num) * dim + keep * (dim + max(dim, num))

    @override
    def build(self, dim: int) -> Block:
        return AttendedMergingBlock(self)


class AttendedMergingBlock(ReduceBlock):
    """Applies `AttendedMerging`."""

    def __init__(self, spec: AttendedMerging) -> None:
        super().__init__()
        self.spec = spec

    @override
    def reduce(self, features: Float[Tensor, "batch positions dim"], grid: Places) -> Reduction:
        patches, scores = self._scored(features, grid)
        return merge_attended(patches, scores, keep=self.spec.num_kept(grid))

    @override
    def forward(self, features: Float[Tensor, "batch positions dim"], grid: Places) -> Float[Tensor, "batch kept dim"]:
        patches, scores = self._scored(features, grid)
        reduction = merge_attended(patches, scores, keep=self.spec.num_kept(grid))
        return reduction.mean(patches, shares(scores, reduction))

    def _scored(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> tuple[Float[Tensor, "batch patches dim"], Float[Tensor, "batch patches"]]:
        prefix = grid.size - self.spec.patches(grid).size
        patches = features[:, prefix:]
        asking = features[:, 0] if prefix else patches.detach().float().mean(1)
        return patches, attention_scores(asking, patches)


def attention_scores(
    asking: Float[Tensor, "batch dim"], patches: Float[Tensor, "batch patches dim"]
) -> Float[Tensor, "batch patches"]:
    """Return the logarithm of the attention, up to a constant: q k / sqrt(dim), both scaled to length sqrt(dim).

    Args:
        asking: the query.
        patches: the keys.
    """
    with in_full_precision(patches):
        cosines = unit(patches) @ rearrange(unit(asking), "b d -> b d 1")
        return cosines.squeeze(-1) * patches.shape[-1] ** 0.5


def merge_attended(
    patches: Float[Tensor, "batch patches dim"], scores: Float[Tensor, "batch patches"], *, keep: int
) -> Reduction:
    """Choose the patches of the highest scores, and for each other one the kept one most like it.

    Args:
        patches: in raster order.
        scores: of the patches; of equal ones the first is kept.
        keep: patches that are kept.
    """
    kept = scores.sort(descending=True, stable=True).indices[:, :keep].sort().values
    with in_full_precision(patches):
        keys = unit(patches)
        merged = (keys @ rearrange(rows(keys, kept), "b k d -> b d k")).argmax(-1)
    numbers = torch.arange(keep, device=kept.device).expand(kept.shape[0], -1)
    return Reduction(kept=kept, merged=merged.scatter(1, kept, numbers))


def shares(scores: Float[Tensor, "batch patches"], reduction: Reduction) -> Float[Tensor, "batch patches"]:
    """Return the attention of each patch relative to that of the kept patch that it went to, which is 1 for itself.

    Args:
        scores: logarithms of the attention.
        reduction: where each patch went.
    """
    return (scores - scores.gather(1, reduction.kept.gather(1, reduction.merged))).exp()
