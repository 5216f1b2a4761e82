"""Scale: every number times a constant."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale(BlockSpec):
    """Multiply every number by a constant; tokens and width stay.

    Computed in float32 and given back in the features' own type; the square root of a width may take float16 out of its
    range, so where a mean is subtracted next, `Standardise` scales by itself.

    Source: Gemma3nMultimodalEmbedder and Gemma4VisionPooler (transformers), which multiply by sqrt(width).
    """

    kind: ClassVar[str] = "scale"

    factor: float
    """What everything is multiplied by."""

    @override
    def build(self, dim: int) -> "ScaleBlock":
        return ScaleBlock(self)


class ScaleBlock(Block):
    """Applies `Scale`."""

    def __init__(self, spec: Scale) -> None:
        super().__init__()
        self.factor = spec.factor

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch positions dim"]:
        return (features.float() * self.factor).to(features.dtype)
