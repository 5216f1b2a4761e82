"""End tokens: learned tokens after the visual ones."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.errors import SpecError
from opticnerve.grid import Places, Queries


@dataclass(frozen=True, kw_only=True, slots=True)
class EndTokens(BlockSpec):
    """Append `num` learned tokens, the same for every image; they have no place, so neither has the output.

    Source: eos_tokens of Honeybee's projectors (projectors.py), vit_eos of its resampler (resamplers.py).
    """

    kind: ClassVar[str] = "end_tokens"

    num: int = 1
    """Tokens that are added."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.num < 1:
            raise SpecError(f"end tokens must be at least 1, got num={self.num}: leave the block out for none")

    @override
    def out_grid(self, grid: Places) -> Queries:
        return Queries(grid.size + self.num)

    @override
    def build(self, dim: int) -> "EndTokensBlock":
        return EndTokensBlock(self, dim)


class EndTokensBlock(Block):
    """Applies `EndTokens`."""

    def __init__(self, spec: EndTokens, dim: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(nn.init.trunc_normal_(torch.empty(spec.num, dim), std=0.02))

    @override
    def forward(self, features: Float[Tensor, "batch positions dim"], grid: Places) -> Float[Tensor, "batch more dim"]:
        return torch.cat([features, self.tokens.expand(features.shape[0], -1, -1)], dim=1)
