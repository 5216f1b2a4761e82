"""Resampler: learned queries look once at all features, by the positions of both."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.attention import Attention, attention_flops, heads_of, learned_queries
from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.connectors.blocks.norm import make_norm
from opticnerve.connectors.blocks.positions import add_to_frames, resize_table, sincos_table
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Places, Queries

KeyPositions = Literal["resized", "computed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resampler(BlockSpec):
    """One cross-attention of learned queries over the features: any grid becomes rows x cols tokens; the width stays.

    Positions are fixed 2-D sines and cosines, added to keys (and queries) but not to values. There is no residual and
    no feed-forward network, so what a query did not look at is lost. Each frame of a video has the same positions.

    Source: Resampler of Qwen-VL (visual.py), OmniLMM and MiniCPM-V (resampler.py), without Linears and norms around it.
    """

    kind: ClassVar[str] = "resampler"

    query_grid: tuple[int, int] = (16, 16)
    """Rows and columns of the queries; without positions on them, only the product counts."""
    head_dim: int = 128
    """Channels of a head: there are width // head_dim heads, at least one."""
    eps: float = 1e-6
    """Of the layer norm over the queries."""
    has_query_positions: bool = True
    """Whether positions are added to the queries too."""
    key_positions: KeyPositions = "resized"
    """Keys take the queries' table, bicubically resized to their grid, or sines and cosines of their own grid."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        rows, cols = self.query_grid
        if rows < 1 or cols < 1 or self.head_dim < 1:
            raise SpecError(
                f"a resampler needs at least 1 x 1 queries and 1 channel a head, got query_grid={rows} x {cols} and "
                f"head_dim={self.head_dim}"
            )

    @property
    def has_table(self) -> bool:
        """Whether the queries' table is stored with the weights, as published checkpoints have it."""
        return self.has_query_positions or self.key_positions == "resized"

    @property
    def num_queries(self) -> int:
        """Tokens that come out."""
        return self.query_grid[0] * self.query_grid[1]

    def num_heads(self, dim: int) -> int:
        """Count the heads of a block `dim` channels wide."""
        return max(1, dim // self.head_dim)

    @override
    def out_grid(self, grid: Places) -> Queries:
        grid.spatial("resample by position")
        return Queries(self.num_queries, spread=self.query_grid if self.has_query_positions else None)

    @override
    def flops(self, grid: Places, dim: int) -> int:
        heads = self.num_heads(dim)
        return attention_flops(
            queries=self.num_queries, keys=grid.size, dim=dim, key_dim=dim, num_heads=heads, head_dim=dim // heads
        )

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        features_placed_keys_values = 4 * grid.size * dim
        return features_placed_keys_values + 3 * self.num_queries * dim

    @override
    def build(self, dim: int) -> "ResamplerBlock":
        return ResamplerBlock(self, dim)


class ResamplerBlock(Block):
    """Applies `Resampler`."""

    table: Float[Tensor, "queries dim"]

    def __init__(self, spec: Resampler, dim: int) -> None:
        super().__init__()
        self.spec = spec
        num_heads = spec.num_heads(dim)
        head_dim = heads_of(dim, num_heads=num_heads, what="a resampler")
        self.queries = learned_queries(spec.num_queries, dim, std=0.02)
        self.query_norm = make_norm("layer", dim=dim, eps=spec.eps)
        self.attention = Attention(dim=dim, key_dim=dim, num_heads=num_heads, head_dim=head_dim)
        rows, cols = spec.query_grid
        table = sincos_table(rows=rows, cols=cols, dim=dim)
        if spec.has_table:
            self.register_buffer("table", table)

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch queries dim"]:
        queries = self.query_norm(self.queries)
        if self.spec.has_query_positions:
            queries = queries + self.table
        keys = add_to_frames(features, self.key_table(grid.spatial("resample by position")).to(features))
        return self.attention(queries[None], keys, features)

    def key_table(self, grid: Grid) -> Float[Tensor, "places dim"]:
        """Return the positions of the keys of one frame."""
        if self.spec.key_positions == "computed":
            dim, device = self.queries.shape[-1], self.queries.device
            return sincos_table(rows=grid.rows, cols=grid.cols, dim=dim, device=device)
        rows, cols = self.spec.query_grid
        return resize_table(self.table, rows=rows, cols=cols, out_rows=grid.rows, out_cols=grid.cols)
