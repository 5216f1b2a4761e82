"""Window attention: patches of a window look at that window, and at nothing else."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.attention import Attention
from opticnerve.connectors.blocks.base import IN, Block, BlockSpec, Dim, fixed
from opticnerve.connectors.blocks.region_attention import regions
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Places, require_multiple

WindowQuery = Literal["self", "mean"]
WindowOdd = Literal["error", "mask"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowAttention(BlockSpec):
    """Attend within windows of `side` x `side` patches that do not overlap.

    With `query="self"` every patch asks and the tokens stay where they are; with "mean" the mean of the window asks,
    and a window becomes one token. Nothing is seen beyond the window, and there are no positions inside it: what the
    features do not carry themselves is lost. Nothing of the query is added to the answer; for a residual put the block
    into `Branches` beside an empty branch.

    Source: MiniCPMV4_6ViTWindowAttentionMerger ("self") and Molmo2Adapter ("mean") of transformers.
    Differs: no dropout, which the published code has in training.
    """

    kind: ClassVar[str] = "window_attention"

    side: int = 2
    """Patches a side of a window."""
    query: WindowQuery = "self"
    """Who asks: every patch of the window, or their mean."""
    dim: Dim = IN
    """Channels that come out."""
    num_heads: int = 16
    """Attention heads."""
    head_dim: int = 72
    """Channels of a head; all heads together need not be as wide as the features."""
    kv_group: int = 1
    """Heads that share one head of keys and values."""
    has_bias: bool = True
    """Whether the four Linears have a bias."""
    odd: WindowOdd = "error"
    """What to do with a grid that windows do not divide: refuse it, or let the windows reach over its edges as far on
    every side, one patch further at the bottom and right where it must be, and look only at patches that are there
    (Molmo2)."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        counts = {"side": self.side, "num_heads": self.num_heads, "head_dim": self.head_dim, "kv_group": self.kv_group}
        for name, value in counts.items():
            if value < 1:
                raise SpecError(f"window_attention needs {name} of at least 1, got {value}")
        if self.num_heads % self.kv_group:
            raise SpecError(
                f"window_attention cannot share keys and values of {self.num_heads} heads by {self.kv_group}"
            )

    def padding(self, grid: Grid) -> tuple[int, int, int, int]:
        """Say how far the windows reach over the left, right, top and bottom edge."""
        across, down = -grid.cols % self.side, -grid.rows % self.side
        return across // 2, across - across // 2, down // 2, down - down // 2

    def windows(self, grid: Grid) -> Grid:
        """Return the grid of the windows.

        Raises:
            GridError: the windows do not divide the grid, and must.
        """
        if self.odd == "error":
            remedy = 'To let windows reach over the edges, set odd="mask".'
            require_multiple(grid, rows=self.side, cols=self.side, action="divide", remedy=remedy)
        return Grid(-(-grid.rows // self.side), -(-grid.cols // self.side), frames=grid.frames)

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("window attention")
        windows = self.windows(grid)
        return grid if self.query == "self" else windows

    @override
    def out_dim(self, dim: int) -> int:
        return fixed(self.dim)

    @override
    def flops(self, grid: Places, dim: int) -> int:
        queries, keys, inner = self._sizes(grid)
        linears = queries * inner * (dim + fixed(self.dim)) + 2 * keys * (inner // self.kv_group) * dim
        return 2 * (linears + 2 * queries * self.side**2 * inner)

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        queries, keys, inner = self._sizes(grid)
        windowed = keys * dim + (queries * dim if self.query == "mean" else 0)
        attended = 2 * keys * (inner // self.kv_group) + 2 * queries * inner
        return grid.size * dim + windowed + attended + queries * fixed(self.dim)

    def _sizes(self, grid: Places) -> tuple[int, int, int]:
        """Count queries, keys (those beyond the edges too), and the channels of all heads."""
        num = self.windows(grid.spatial("window attention")).size
        keys = num * self.side**2
        return (keys if self.query == "self" else num), keys, self.num_heads * self.head_dim

    @override
    def build(self, dim: int) -> "WindowAttentionBlock":
        return WindowAttentionBlock(self, dim)


class WindowAttentionBlock(Block):
    """Applies `WindowAttention`."""

    def __init__(self, spec: WindowAttention, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.attention = Attention(
            dim=dim,
            key_dim=dim,
            num_heads=spec.num_heads,
            head_dim=spec.head_dim,
            kv_group=spec.kv_group,
            has_bias=spec.has_bias,
            out_dim=fixed(spec.dim),
        )

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch tokens out"]:
        spec, grid = self.spec, grid.spatial("window attention")
        windows = spec.windows(grid)
        keys = regions(self._padded(features, grid), grid=windows, factor=spec.side)
        inside = self._inside(grid, windows, like=features)
        mask = None if inside is None else inside.repeat(features.shape[0], 1)
        queries = keys if spec.query == "self" else window_means(keys, mask)
        answers = self.attention(queries, keys, keys, None if mask is None else mask[:, None, None])
        if spec.query == "mean":
            return rearrange(answers, "(b n) 1 c -> b n c", n=windows.size)
        return self._unpadded(from_windows(answers, grid=windows, side=spec.side), grid)

    def _padded(
        self, features: Float[Tensor, "batch patches dim"], grid: Grid
    ) -> Float[Tensor, "batch padded_patches dim"]:
        padding = self.spec.padding(grid)
        if not any(padding):
            return features
        video = rearrange(features, "b (t h w) c -> b t h w c", t=grid.frames, h=grid.rows)
        return rearrange(F.pad(video, (0, 0, *padding)), "b t h w c -> b (t h w) c")

    def _unpadded(
        self, tokens: Float[Tensor, "batch padded_patches dim"], grid: Grid
    ) -> Float[Tensor, "batch patches dim"]:
        left, right, top, bottom = self.spec.padding(grid)
        if not any((left, right, top, bottom)):
            return tokens
        video = rearrange(tokens, "b (t h w) c -> b t h w c", t=grid.frames, h=top + grid.rows + bottom)
        video = video[:, :, top : top + grid.rows, left : left + grid.cols]
        return rearrange(video, "b t h w c -> b (t h w) c")

    def _inside(self, grid: Grid, windows: Grid, *, like: Tensor) -> Bool[Tensor, "windows members"] | None:
        """Say which members of each window lie on the grid; None where all do."""
        padding = self.spec.padding(grid)
        if not any(padding):
            return None
        whole = torch.ones(grid.frames, grid.rows, grid.cols, dtype=torch.bool, device=like.device)
        flat = rearrange(F.pad(whole, padding), "t h w -> 1 (t h w) 1")
        return rearrange(regions(flat, grid=windows, factor=self.spec.side), "n m 1 -> n m")


def window_means(
    members: Float[Tensor, "windows members dim"], mask: Bool[Tensor, "windows members"] | None
) -> Float[Tensor, "windows 1 dim"]:
    """Average the members of each window that are there.

    Args:
        members: those that are not there are 0.
        mask: True for those that are there; None where all are.
    """
    if mask is None:
        return members.mean(1, keepdim=True)
    return members.sum(1, keepdim=True) / mask.sum(1)[:, None, None].to(members.dtype)


def from_windows(
    members: Float[Tensor, "batch_windows members dim"], *, grid: Grid, side: int
) -> Float[Tensor, "batch patches dim"]:
    """Put the members of windows back in raster order: the inverse of `regions`.

    Args:
        members: those of each window, row by row.
        grid: the grid of the windows.
        side: members a side of a window.
    """
    pattern = "(b t h w) (r q) c -> b (t h r w q) c"
    return rearrange(members, pattern, t=grid.frames, h=grid.rows, w=grid.cols, r=side, q=side)
