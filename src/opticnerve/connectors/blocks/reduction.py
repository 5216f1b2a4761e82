"""Reduction: which patches of an image are kept, and which kept patch every other one went to."""

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Places, Queries


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduction:
    """Fewer tokens of each image, chosen by what is in the image."""

    kept: Int[Tensor, "batch kept"]
    """Positions of the patches that stay, in raster order; prefix tokens are not counted."""
    merged: Int[Tensor, "batch patches"]
    """For each patch, the index into `kept` of the token that it went to; a kept patch went to itself. Where patches
    are dropped, it is the kept patch that lies nearest to them, which has nothing of them."""

    def take(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch kept dim"]:
        """Take the kept patches as they are."""
        return rows(features, self.kept)

    def mean(
        self, features: Float[Tensor, "batch patches dim"], weights: Float[Tensor, "batch patches"] | None = None
    ) -> Float[Tensor, "batch kept dim"]:
        """Average the patches of each token, in float32.

        Args:
            features: of the patches.
            weights: of each patch within its token, above 0; none for the plain mean.
        """
        weights = torch.ones_like(features[..., 0], dtype=torch.float32) if weights is None else weights
        values = features.float() * weights[..., None]
        sums = values.new_zeros(features.shape[0], self.kept.shape[1], features.shape[-1])
        sums = sums.scatter_add(1, repeat(self.merged, "b n -> b n d", d=features.shape[-1]), values)
        totals = torch.zeros_like(sums[..., 0]).scatter_add(1, self.merged, weights)
        return (sums / totals[..., None]).to(features.dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduce(BlockSpec):
    """Base of the blocks that choose by content: one token for every `reduction` patches, rounded up.

    Which patches become tokens differs from image to image, so the tokens lie on no grid; they are in raster order.
    """

    reduction: int = 4
    """Patches for each token that comes out."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.reduction < 1:
            raise SpecError(f"{self.kind} needs a whole reduction of at least 1, got {self.reduction}")

    def patches(self, grid: Places) -> Grid:
        """Return the grid that is chosen from.

        Raises:
            GridError: the features are not patches alone.
        """
        return grid.spatial("choose patches")

    def num_kept(self, grid: Places) -> int:
        """Count the tokens that come out."""
        return -(-self.patches(grid).num_patches // self.reduction)

    @override
    def out_grid(self, grid: Places) -> Queries:
        return Queries(self.num_kept(grid))


class ReduceBlock(Block):
    """Applies a `Reduce`: says which patches it keeps, and makes the tokens."""

    @abstractmethod
    def reduce(self, features: Float[Tensor, "batch positions dim"], grid: Places) -> Reduction:
        """Choose, without a gradient and in float32, under autocast too."""


def unit(features: Float[Tensor, "*any dim"]) -> Float[Tensor, "*any dim"]:
    """Scale to length 1, in float32 and without a gradient, so that products are cosines."""
    return F.normalize(features.detach().float(), dim=-1)


def in_full_precision(features: Tensor) -> AbstractContextManager[object]:
    """Switch autocast off where there is any: a score that is rounded to bfloat16 chooses other patches."""
    device = features.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def rows(
    features: Float[Tensor, "batch patches dim"], positions: Int[Tensor, "batch kept"]
) -> Float[Tensor, "batch kept dim"]:
    """Take the features at some positions of each image."""
    return features.gather(1, repeat(positions, "b k -> b k d", d=features.shape[-1]))
