"""Frame waves: sines and cosines of the number of the frame, added to all its patches."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Grid, Places


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameWaves(BlockSpec):
    """Add sines of the frame's number to the even channels and cosines to the odd ones. Tokens and width stay.

    A still image is frame 0: it gets 0 and 1 in turn, which a model that was trained so needs all the same. The table
    is fixed, but stands in the checkpoint, and is read from there.

    Source: Florence2VisionPositionalEmbeddingCosine1D (transformers).
    """

    kind: ClassVar[str] = "frame_waves"

    max_frames: int
    """Frames that have a place in the table; a longer video is refused."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.max_frames < 1:
            raise SpecError(f"frame waves need room for at least 1 frame, got max_frames={self.max_frames}")

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("add frame waves")
        if grid.frames > self.max_frames:
            raise GridError(
                f"the table of frame waves has {self.max_frames} frames, but the grid {grid} has {grid.frames}: sample "
                f"at most {self.max_frames} frames, or build the connector with more"
            )
        return grid

    @override
    def build(self, dim: int) -> "FrameWavesBlock":
        return FrameWavesBlock(self, dim)


class FrameWavesBlock(Block):
    """Applies `FrameWaves`."""

    table: Tensor

    def __init__(self, spec: FrameWaves, dim: int) -> None:
        super().__init__()
        if dim % 2:
            raise SpecError(f"frame waves need an even number of channels, got {dim}")
        self.spec = spec
        self.register_buffer("table", _waves(spec.max_frames, dim))

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch patches dim"]:
        grid = self.spec.out_grid(grid)
        frames = rearrange(features, "b (t n) c -> b t n c", t=grid.frames)
        return rearrange(frames + self.table[: grid.frames, None], "b t n c -> b (t n) c")


def _waves(frames: int, dim: int) -> Float[Tensor, "frames dim"]:
    frequency = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float32) / (dim // 2))
    angle = torch.arange(frames, dtype=torch.float32)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
