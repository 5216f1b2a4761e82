"""Merge frames: the same place of several frames side by side in one token."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Grid, Places

Still = Literal["error", "repeat"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeFrames(BlockSpec):
    """Put `frames` frames that follow one another side by side: tokens divided, channels multiplied, nothing lost.

    The earliest frame comes first. After `Merge` a token holds (frame, row, column, channel), slowest to fastest.

    Source: VariableResolutionResamplerModel of ERNIE 4.5 VL (transformers), which takes a still image for two equal
    frames. What differs: it drops the last of an odd number of frames, which is refused here.
    """

    kind: ClassVar[str] = "merge_frames"

    frames: int = 2
    """Frames that become one."""
    still: Still = "error"
    """What to do with a still image: refuse it as any other number that `frames` does not divide, or repeat it."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.frames < 1:
            raise SpecError(f"merge frames needs a whole number of at least 1, got {self.frames}")

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("merge frames")
        if self.repeats(grid):
            return grid
        if grid.frames % self.frames:
            raise GridError(
                f"cannot merge the frames of a {grid} grid by {self.frames}: their number, {grid.frames}, must be a "
                f'multiple of {self.frames}. Drop or repeat frames; for still images, set still="repeat"'
            )
        return Grid(grid.rows, grid.cols, frames=grid.frames // self.frames)

    def repeats(self, grid: Grid) -> bool:
        """Say whether this is a still image that counts for several frames."""
        return grid.frames == 1 and self.still == "repeat"

    @override
    def out_dim(self, dim: int) -> int:
        return dim * self.frames

    @override
    def build(self, dim: int) -> "MergeFramesBlock":
        return MergeFramesBlock(self)


class MergeFramesBlock(Block):
    """Applies `MergeFrames`."""

    def __init__(self, spec: MergeFrames) -> None:
        super().__init__()
        self.spec = spec

    @override
    def forward(
        self, features: Float[Tensor, "batch patches dim"], grid: Places
    ) -> Float[Tensor, "batch merged merged_dim"]:
        spec, grid = self.spec, grid.spatial("merge frames")
        spec.out_grid(grid)
        if spec.repeats(grid):
            return features.repeat(1, 1, spec.frames)
        return rearrange(features, "b (t f n) c -> b (t n) (f c)", f=spec.frames, n=grid.rows * grid.cols)
