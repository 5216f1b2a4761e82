"""Grid positions: a learned vector for every place of a stated grid."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.connectors.blocks.positions import add_to_frames, resize_table
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Grid, Places

OtherGrid = Literal["error", "resize"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GridPositions(BlockSpec):
    """Add a learned vector to each patch, by its place. Tokens and width stay; every frame gets the same vectors.

    Source: build_pos_embeds of Honeybee (projectors.py).
    Differs: the input is left as it was; the source adds to the caller's own tensor.
    """

    kind: ClassVar[str] = "grid_positions"

    rows: int
    """Rows of the grid that the vectors are learned for."""
    cols: int
    """Columns of that grid."""
    other_grid: OtherGrid = "error"
    """What to do with another grid: refuse it, or resize the vectors to it (bicubic)."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.rows < 1 or self.cols < 1:
            raise SpecError(f"grid_positions needs a grid of at least 1 x 1, got {self.rows} x {self.cols}")

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("learned position")
        if self.other_grid == "error" and (grid.rows, grid.cols) != (self.rows, self.cols):
            raise GridError(
                f"positions are learned for a {self.rows} x {self.cols} grid, but the features lie on {grid}: set "
                f'pos_grid to {(grid.rows, grid.cols)}, or other_grid="resize" to interpolate the positions'
            )
        return grid

    @override
    def build(self, dim: int) -> "GridPositionsBlock":
        return GridPositionsBlock(self, dim)


class GridPositionsBlock(Block):
    """Applies `GridPositions`."""

    def __init__(self, spec: GridPositions, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.table = nn.Parameter(torch.empty(spec.rows * spec.cols, dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch patches dim"]:
        grid = self.spec.out_grid(grid)
        rows, cols = self.spec.rows, self.spec.cols
        table = resize_table(self.table, rows=rows, cols=cols, out_rows=grid.rows, out_cols=grid.cols)
        return add_to_frames(features, table)
