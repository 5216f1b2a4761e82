"""Frame positions: a learned vector for every frame of a video."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Grid, Places


@dataclass(frozen=True, kw_only=True, slots=True)
class FramePositions(BlockSpec):
    """Add one learned vector to all patches of a frame. Tokens and width stay.

    Source: frame_embs of OpenFlamingo's PerceiverResampler (helpers.py).
    """

    kind: ClassVar[str] = "frame_positions"

    max_frames: int
    """Frames that have a vector; a longer video is refused."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.max_frames < 1:
            raise SpecError(f"frame positions need room for at least 1 frame, got max_frames={self.max_frames}")

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("add frame positions")
        if grid.frames > self.max_frames:
            raise GridError(
                f"there are learned positions for {self.max_frames} frames, but the grid {grid} has {grid.frames}: "
                f"sample at most {self.max_frames} frames, or build the connector with more"
            )
        return grid

    @override
    def build(self, dim: int) -> "FramePositionsBlock":
        return FramePositionsBlock(self, dim)


class FramePositionsBlock(Block):
    """Applies `FramePositions`."""

    def __init__(self, spec: FramePositions, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.table = nn.Parameter(torch.randn(spec.max_frames, dim))

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch patches dim"]:
        grid = self.spec.out_grid(grid)
        frames = rearrange(features, "b (t n) c -> b t n c", t=grid.frames)
        return rearrange(frames + self.table[: grid.frames, None], "b t n c -> b (t n) c")
