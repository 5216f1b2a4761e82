"""Row tokens: one learned token after each row, as a line break in text."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.grid import Places, Queries


@dataclass(frozen=True, kw_only=True, slots=True)
class RowTokens(BlockSpec):
    """Append the same learned token to every row, of every frame: rows x cols becomes rows x (cols + 1) tokens.

    It tells the LLM the width of the image, which raster order hides. A line break is no patch, so the output lies on
    no grid: blocks that work on places go before.

    Source: image_newline of HunYuanVLVisionPatchMerger (transformers).
    """

    kind: ClassVar[str] = "row_tokens"

    @override
    def out_grid(self, grid: Places) -> Queries:
        grid = grid.spatial("end rows")
        return Queries(grid.frames * grid.rows * (grid.cols + 1))

    @override
    def build(self, dim: int) -> "RowTokensBlock":
        return RowTokensBlock(dim)


class RowTokensBlock(Block):
    """Applies `RowTokens`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(dim), std=0.02))

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch more dim"]:
        grid = grid.spatial("end rows")
        rows = rearrange(features, "b (r c) d -> b r c d", c=grid.cols)
        ends = repeat(self.token.to(features.dtype), "d -> b r 1 d", b=rows.shape[0], r=rows.shape[1])
        return rearrange(torch.cat([rows, ends], dim=2), "b r c d -> b (r c) d")
