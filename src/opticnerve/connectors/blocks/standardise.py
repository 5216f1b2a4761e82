"""Standardise: every channel less its mean, times one over its spread, both fixed numbers of the checkpoint."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class Standardise(BlockSpec):
    """Scale every number, subtract a number of its channel, and multiply by another; tokens and width stay.

    The numbers are not learned: they come with the checkpoint. Fresh ones change nothing but the scale. All three steps
    are computed in float32, since what is scaled may be out of float16's range until the mean is gone.

    Source: std_bias and std_scale of Gemma4VisionModel, after the scaling of Gemma4VisionPooler (transformers).
    """

    kind: ClassVar[str] = "standardise"

    scale: float = 1.0
    """What everything is multiplied by before the mean is subtracted."""

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        return 3 * grid.size * dim

    @override
    def build(self, dim: int) -> "StandardiseBlock":
        return StandardiseBlock(self, dim)


class StandardiseBlock(Block):
    """Applies `Standardise`."""

    mean: Tensor
    inverse_spread: Tensor

    def __init__(self, spec: Standardise, dim: int) -> None:
        super().__init__()
        self.scale = spec.scale
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("inverse_spread", torch.ones(dim))

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch positions dim"]:
        wide = features.float() * self.scale - self.mean.float()
        return (wide * self.inverse_spread.float()).to(features.dtype)
