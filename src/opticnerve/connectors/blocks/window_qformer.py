"""Window Q-Former: a small Q-Former that sees one window of patches at a time."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.attention import learned_queries
from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.connectors.blocks.maps import from_maps, to_maps
from opticnerve.connectors.blocks.norm import make_norm
from opticnerve.connectors.blocks.qformer import QFormer, QFormerLayer
from opticnerve.connectors.blocks.region_attention import regions
from opticnerve.connectors.blocks.window_attention import from_windows
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Places, require_multiple

WindowStart = Literal["mean", "top_left", "top_right", "bottom_left", "bottom_right"]

_CORNERS: dict[WindowStart, tuple[int, int]] = {
    "top_left": (0, 0),
    "top_right": (0, 1),
    "bottom_left": (1, 0),
    "bottom_right": (1, 1),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowQFormer(BlockSpec):
    """Turn each window of `side` x `side` patches into `query_side` x `query_side` tokens by a Q-Former of its own.

    A query starts from a learned vector and what lies in its place: the mean of the patches there, or one corner of
    each 2 x 2 of them. The queries of a window talk to each other and look at its patches, to which learned positions
    are added; one set of weights serves all windows. Nothing is seen beyond a window. Tokens keep their places.

    Source: Granite4VisionWindowQFormerDownsampler (transformers), on a Q-Former as in BLIP-2.
    Differs: takes any grid that windows divide, not only the square one of the config; no dropout, which the
    published code has in training (0.1).
    """

    kind: ClassVar[str] = "window_qformer"

    side: int = 8
    """Patches a side of a window."""
    query_side: int = 4
    """Tokens a side that a window becomes."""
    start: WindowStart = "mean"
    """What is added to the learned queries."""
    num_layers: int = 1
    """Layers."""
    num_heads: int = 18
    """Heads, in self-attention and cross-attention."""
    cross_attention_freq: int = 1
    """Cross-attention stands in layers 0, freq, 2 freq and so on."""
    feed_forward_dim: int = 3072
    """Hidden width of the feed-forward networks."""
    eps: float = 1e-12
    """Of the layer norms."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if not 1 <= self.query_side <= self.side:
            raise SpecError(
                f"window_qformer needs query_side from 1 to side, got query_side={self.query_side} and side={self.side}"
            )
        if self.start != "mean" and self.side != 2 * self.query_side:
            raise SpecError(
                f'window_qformer with start="{self.start}" takes one of each 2 x 2 patches, so side must be twice '
                f"query_side, got side={self.side} and query_side={self.query_side}"
            )

    def core(self, dim: int) -> QFormer:
        """Return the Q-Former of one window, for features of `dim` channels."""
        return QFormer(
            num_queries=self.query_side**2,
            hidden_dim=dim,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            cross_attention_freq=self.cross_attention_freq,
            feed_forward_dim=self.feed_forward_dim,
            eps=self.eps,
        )

    def windows(self, grid: Grid) -> Grid:
        """Return the grid of the windows.

        Raises:
            GridError: the windows do not divide the grid.
        """
        remedy = 'A pool in mode "adaptive" or "bilinear" takes any grid.'
        require_multiple(grid, rows=self.side, cols=self.side, action="divide", remedy=remedy)
        return Grid(grid.rows // self.side, grid.cols // self.side, frames=grid.frames)

    @override
    def out_grid(self, grid: Places) -> Grid:
        windows = self.windows(grid.spatial("a window Q-Former"))
        return Grid(windows.rows * self.query_side, windows.cols * self.query_side, frames=windows.frames)

    @override
    def flops(self, grid: Places, dim: int) -> int:
        windows = self.windows(grid.spatial("a window Q-Former"))
        return windows.size * self.core(dim).flops(Grid(self.side, self.side), dim)

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        windows = self.windows(grid.spatial("a window Q-Former"))
        return grid.size * dim + windows.size * self.core(dim).activation_values(Grid(self.side, self.side), dim)

    @override
    def build(self, dim: int) -> "WindowQFormerBlock":
        return WindowQFormerBlock(self, dim)


class WindowQFormerBlock(Block):
    """Applies `WindowQFormer`."""

    def __init__(self, spec: WindowQFormer, dim: int) -> None:
        super().__init__()
        self.spec = spec
        core = spec.core(dim)
        self.queries = nn.Parameter(learned_queries(spec.query_side**2, dim, std=0.02).detach()[None])
        self.positions = nn.Parameter(torch.randn(1, spec.side**2, dim) * 0.02)
        self.norm = make_norm("layer", dim=dim, eps=spec.eps)
        self.layers = nn.ModuleList(
            QFormerLayer(core, key_dim=dim if core.looks(layer) else 0) for layer in range(spec.num_layers)
        )

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch tokens dim"]:
        spec, grid = self.spec, grid.spatial("a window Q-Former")
        windows, out = spec.windows(grid), spec.out_grid(grid)
        starts = regions(self._starts(features, grid, out), grid=windows, factor=spec.query_side)
        keys = regions(features, grid=windows, factor=spec.side) + self.positions
        queries = self.norm(self.queries + starts)
        for layer in self.layers:
            queries = layer(queries, keys)
        return from_windows(queries, grid=windows, side=spec.query_side)

    def _starts(
        self, features: Float[Tensor, "batch patches dim"], grid: Grid, out: Grid
    ) -> Float[Tensor, "batch tokens dim"]:
        if self.spec.start == "mean":
            return from_maps(F.adaptive_avg_pool2d(to_maps(features, grid), (out.rows, out.cols)), frames=grid.frames)
        row, col = _CORNERS[self.spec.start]
        video = rearrange(features, "b (t h w) c -> b t h w c", t=grid.frames, h=grid.rows)
        return rearrange(video[:, :, row::2, col::2], "b t h w c -> b (t h w) c")
