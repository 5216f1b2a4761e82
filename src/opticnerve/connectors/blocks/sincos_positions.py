"""Sine-cosine positions: a fixed vector for every place of the grid."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.connectors.blocks.positions import add_to_frames, sincos_table
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Places


@dataclass(frozen=True, kw_only=True, slots=True)
class SincosPositions(BlockSpec):
    """Add a 2-D sine-cosine vector to each patch, by its place. Tokens and width stay; nothing is learned.

    The first half of the channels tells the column and the second half the row. Every frame gets the same vectors.

    Source: GraniteDoclingPositionEmbedding (transformers), which is MAE's table.
    Differs: computed for the grid that comes in; the source has one square grid, that of its tiles.
    """

    kind: ClassVar[str] = "sincos_positions"

    @override
    def out_grid(self, grid: Places) -> Grid:
        return grid.spatial("sine-cosine position")

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        return 3 * grid.spatial("sine-cosine position").size * dim

    @override
    def build(self, dim: int) -> "SincosPositionsBlock":
        return SincosPositionsBlock(self, dim)


class SincosPositionsBlock(Block):
    """Applies `SincosPositions`."""

    def __init__(self, spec: SincosPositions, dim: int) -> None:
        super().__init__()
        if dim % 4:
            raise SpecError(f"2-D sine-cosine positions need a multiple of 4 channels, got {dim}")
        self.spec = spec

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch patches dim"]:
        place = self.spec.out_grid(grid)
        table = sincos_table(rows=place.rows, cols=place.cols, dim=features.shape[-1], device=features.device)
        return add_to_frames(features, table.to(features.dtype))
