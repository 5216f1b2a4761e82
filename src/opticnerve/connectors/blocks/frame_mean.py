"""Frame mean: all frames of a video become one."""

from dataclasses import dataclass
from typing import ClassVar

from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.grid import Grid, Places


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameMean(BlockSpec):
    """Average each patch over all frames: as many tokens as one frame has, and motion is lost. Images stay as they are.

    Source: temporal_patch_merger of Kimi K2.5 (transformers, Kimi_K25VisionModel).
    """

    kind: ClassVar[str] = "frame_mean"

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("average over frames")
        return Grid(grid.rows, grid.cols)

    @override
    def build(self, dim: int) -> "FrameMeanBlock":
        return FrameMeanBlock()


class FrameMeanBlock(Block):
    """Applies `FrameMean`."""

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch places dim"]:
        grid = grid.spatial("average over frames")
        if grid.frames == 1:
            return features
        return rearrange(features, "b (t n) c -> b t n c", t=grid.frames).mean(1)
