"""Patch positions: a learned vector for every row and one for every column, instead of one for every place."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.connectors.blocks.positions import add_to_frames
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Grid, Places


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchPositions(BlockSpec):
    """Add a vector of the patch's column and one of its row. Tokens and width stay; every frame gets the same vectors.

    With size + size vectors it serves every grid of at most size x size, whatever its shape.

    Source: pos_embedding of Gemma4UnifiedVisionEmbedder ("sum"), Florence2VisionLearnedAbsolutePositionEmbedding2D
    ("channels"), both in transformers.
    """

    kind: ClassVar[str] = "patch_positions"

    size: int
    """Rows that have a vector, and columns that have one; a larger grid is refused."""
    join: Literal["sum", "channels"] = "sum"
    """Whether both vectors are as wide as the features and are added up; or lie side by side, that of the column on the
    first half of the channels (rounded up), that of the row on the second."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.size < 1:
            raise SpecError(f"patch positions need a size of at least 1, got {self.size}")

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("learned position")
        if max(grid.rows, grid.cols) > self.size:
            raise GridError(
                f"positions are learned for at most {self.size} rows and {self.size} columns, but the features lie on "
                f"{grid}: make the image smaller, or build the connector with a larger size"
            )
        return grid

    @override
    def build(self, dim: int) -> "PatchPositionsBlock":
        return PatchPositionsBlock(self, dim)


class PatchPositionsBlock(Block):
    """Applies `PatchPositions`.

    With "sum" there is one `table` of (size, 2, dim), columns first, as it is published; with "channels" there are
    `cols` and `rows`.
    """

    def __init__(self, spec: PatchPositions, dim: int) -> None:
        super().__init__()
        self.spec = spec
        if spec.join == "sum":
            self.table = _fresh(spec.size, 2, dim)
        else:
            self.cols = _fresh(spec.size, dim - dim // 2)
            self.rows = _fresh(spec.size, dim // 2)

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch patches dim"]:
        grid = self.spec.out_grid(grid)
        if self.spec.join == "sum":
            places = self.table[None, : grid.cols, 0] + self.table[: grid.rows, None, 1]
        else:
            across = self.cols[None, : grid.cols].expand(grid.rows, -1, -1)
            down = self.rows[: grid.rows, None].expand(-1, grid.cols, -1)
            places = torch.cat([across, down], dim=-1)
        return add_to_frames(features, rearrange(places, "h w c -> (h w) c"))


def _fresh(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))
