"""Begin tokens: learned tokens before the visual ones."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.errors import SpecError
from opticnerve.grid import Places, Queries


@dataclass(frozen=True, kw_only=True, slots=True)
class BeginTokens(BlockSpec):
    """Put `num` learned tokens first, the same for every image. On a grid they are prefix tokens.

    Source: image_begin of HunYuanVLVisionPatchMerger (transformers).
    """

    kind: ClassVar[str] = "begin_tokens"

    num: int = 1
    """Tokens that are added."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.num < 1:
            raise SpecError(f"begin tokens must be at least 1, got num={self.num}: leave the block out for none")

    @override
    def out_grid(self, grid: Places) -> Places:
        if isinstance(grid, Queries):
            return Queries(self.num + grid.num)
        return replace(grid, prefix=self.num + grid.prefix)

    @override
    def build(self, dim: int) -> "BeginTokensBlock":
        return BeginTokensBlock(self, dim)


class BeginTokensBlock(Block):
    """Applies `BeginTokens`."""

    def __init__(self, spec: BeginTokens, dim: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(nn.init.trunc_normal_(torch.empty(spec.num, dim), std=0.02))

    @override
    def forward(self, features: Float[Tensor, "batch positions dim"], grid: Places) -> Float[Tensor, "batch more dim"]:
        tokens = self.tokens.to(features.dtype).expand(features.shape[0], -1, -1)
        return torch.cat([tokens, features], dim=1)
