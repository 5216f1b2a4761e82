"""Merge: neighbouring patches side by side in one token (space-to-depth)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Odd, Places, require_multiple

ChannelOrder = Literal["row_col_channel", "channel_row_col"]

_INSIDE: dict[ChannelOrder, str] = {"row_col_channel": "(r q c)", "channel_row_col": "(c r q)"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge(BlockSpec):
    """Put `rows` x `cols` neighbouring patches side by side: tokens divided, channels multiplied, nothing lost.

    Source: pixel_shuffle of InternVL (modeling_internvl_chat.py), PatchMerger of Qwen2-VL, encode_img of MiniGPT-v2.
    They name it differently; with the same channel order it is one map. `torch.nn.PixelUnshuffle` is not it: its
    channel order is "channel_row_col".
    """

    kind: ClassVar[str] = "merge"

    rows: int = 2
    """Neighbours from top to bottom."""
    cols: int = 2
    """Neighbours from left to right."""
    order: ChannelOrder = "row_col_channel"
    """Which index runs slowest to fastest inside a merged token."""
    is_transposed: bool = False
    """Whether tokens come out column by column, as InternVL's ps_version v1 has them."""
    odd: Odd = "error"
    """What to do where the factors do not divide the grid: refuse, or pad zeros at the bottom and right (VILA)."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.rows < 1 or self.cols < 1:
            raise SpecError(f"merge needs whole factors of at least 1, got {self.rows} x {self.cols}")

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("merge")
        if self.odd == "error":
            remedy = 'To pad instead, set odd="pad".'
            require_multiple(grid, rows=self.rows, cols=self.cols, action="merge", remedy=remedy)
        padded = self.padded(grid)
        rows, cols = padded.rows // self.rows, padded.cols // self.cols
        rows, cols = (cols, rows) if self.is_transposed else (rows, cols)
        return Grid(rows, cols, frames=grid.frames)

    def padded(self, grid: Grid) -> Grid:
        """Return the grid with zeros at the bottom and right, up to multiples of the factors."""
        return Grid(grid.rows + -grid.rows % self.rows, grid.cols + -grid.cols % self.cols, frames=grid.frames)

    @override
    def out_dim(self, dim: int) -> int:
        return dim * self.rows * self.cols

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        grid = grid.spatial("merge")
        padded = self.padded(grid)
        # strips of a row lie side by side already
        moves = self.rows > 1 or self.order == "channel_row_col" or self.is_transposed
        copies = moves + (padded != grid)
        return (grid.size + copies * padded.size) * dim

    @override
    def build(self, dim: int) -> "MergeBlock":
        return MergeBlock(self)


class MergeBlock(Block):
    """Applies `Merge`."""

    def __init__(self, spec: Merge) -> None:
        super().__init__()
        self.spec = spec

    @override
    def forward(
        self, features: Float[Tensor, "batch patches dim"], grid: Places
    ) -> Float[Tensor, "batch merged merged_dim"]:
        spec, grid = self.spec, grid.spatial("merge")
        spec.out_grid(grid)
        padded = spec.padded(grid)
        if (padded.rows, padded.cols) != (grid.rows, grid.cols):
            video = rearrange(features, "b (t h w) c -> b t h w c", t=grid.frames, h=grid.rows)
            video = F.pad(video, (0, 0, 0, padded.cols - grid.cols, 0, padded.rows - grid.rows))
            features = rearrange(video, "b t h w c -> b (t h w) c")
        # the last rearrangement in one with the merge, so that there is one copy
        pattern = f"b (t h r w q) c -> b {'(t w h)' if spec.is_transposed else '(t h w)'} {_INSIDE[spec.order]}"
        rows, cols = padded.rows // spec.rows, padded.cols // spec.cols
        return rearrange(features, pattern, t=grid.frames, h=rows, w=cols, r=spec.rows, q=spec.cols)


def merge(
    features: Float[Tensor, "batch patches dim"], *, grid: Grid, rows: int, cols: int, order: ChannelOrder
) -> Float[Tensor, "batch merged merged_dim"]:
    """Put rows x cols neighbours side by side.

    Args:
        features: patches in raster order.
        grid: their grid, whose sides are multiples of the factors.
        rows: neighbours from top to bottom.
        cols: neighbours from left to right.
        order: the order of the indices inside a merged token.

    Returns:
        The merged tokens in raster order, frame after frame.
    """
    pattern = f"b (t h r w q) c -> b (t h w) {_INSIDE[order]}"
    return rearrange(features, pattern, t=grid.frames, h=grid.rows // rows, w=grid.cols // cols, r=rows, q=cols)


def unmerge(
    tokens: Float[Tensor, "batch merged merged_dim"], *, grid: Grid, rows: int, cols: int, order: ChannelOrder
) -> Float[Tensor, "batch patches dim"]:
    """Take merged tokens apart again: the exact inverse of `merge`.

    Args:
        tokens: merged tokens in raster order.
        grid: the grid of the merged tokens.
        rows: neighbours from top to bottom.
        cols: neighbours from left to right.
        order: the order of the indices inside a merged token.

    Returns:
        The patches in raster order.
    """
    pattern = f"b (t h w) {_INSIDE[order]} -> b (t h r w q) c"
    return rearrange(tokens, pattern, t=grid.frames, h=grid.rows, w=grid.cols, r=rows, q=cols)
