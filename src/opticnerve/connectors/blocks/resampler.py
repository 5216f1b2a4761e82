"""Resampler: learned queries look once at all features, by the positions of both."""

from dataclasses import dataclass
from math import inf
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

    Queries do not see each other, so some of them can be left out: the tokens of the others stay what they are.

    Positions are fixed 2-D sines and cosines, added to keys (and queries) but not to values. There is no residual and
    no feed-forward network, so what a query did not look at is lost. Each frame of a video has the same positions.

    Source: Resampler of Qwen-VL (visual.py), OmniLMM and MiniCPM-V (resampler.py), without Linears and norms around it;
    fewer of its queries as in Hu et al., "Matryoshka Query Transformer", 2024, which takes the first.
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
    num_used: int = 0
    """Queries that look; 0 for all. The first ones; on a grid with positions the coarsest, which lie all over it."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        rows, cols = self.query_grid
        if rows < 1 or cols < 1 or self.head_dim < 1:
            raise SpecError(
                f"a resampler needs at least 1 x 1 queries and 1 channel a head, got query_grid={rows} x {cols} and "
                f"head_dim={self.head_dim}"
            )
        if not 0 <= self.num_used <= self.num_learned:
            raise SpecError(
                f"a resampler of {rows} x {cols} queries can use 1 to {self.num_learned} of them, or all (0), got"
                f" num_used={self.num_used}"
            )

    @property
    def has_table(self) -> bool:
        """Whether the queries' table is stored with the weights, as published checkpoints have it."""
        return self.has_query_positions or self.key_positions == "resized"

    @property
    def num_learned(self) -> int:
        """Queries that there are, used or not."""
        return self.query_grid[0] * self.query_grid[1]

    @property
    def num_queries(self) -> int:
        """Queries that look, which are the tokens that come out."""
        return self.num_used or self.num_learned

    @property
    def used(self) -> tuple[int, ...]:
        """Which queries look, in raster order; of fewer, each is among those of more (Matryoshka)."""
        order = coarse_first(*self.query_grid) if self.has_query_positions else tuple(range(self.num_learned))
        return tuple(sorted(order[: self.num_queries]))

    def num_heads(self, dim: int) -> int:
        """Count the heads of a block `dim` channels wide."""
        return max(1, dim // self.head_dim)

    @override
    def out_grid(self, grid: Places) -> Queries:
        grid.spatial("resample by position")
        return Queries(self.num_queries, spread=self._spread() if self.has_query_positions else None)

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

    def _spread(self) -> tuple[int, int] | None:
        """Say on which grid the queries lie that are used; None where they do not fill one."""
        places = [divmod(query, self.query_grid[1]) for query in self.used]
        rows, cols = (len(set(side)) for side in zip(*places, strict=True))
        return (rows, cols) if rows * cols == self.num_queries else None


def coarse_first(rows: int, cols: int) -> tuple[int, ...]:
    """Order the places of a grid so that the first of them lie all over it, however many are taken.

    First the corner, then every 2^k-th row and column, with half the distance each time.

    >>> coarse_first(4, 4)
    (0, 2, 8, 10, 1, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15)

    Args:
        rows: of the grid.
        cols: of the grid.

    Returns:
        Places counted row by row.
    """
    return tuple(sorted(range(rows * cols), key=lambda place: -_stride(place // cols | place % cols)))


def _stride(number: int) -> float:
    """Give the largest power of two that divides a number: of the bits of a row and a column, of both."""
    return number & -number if number else inf


class ResamplerBlock(Block):
    """Applies `Resampler`."""

    table: Float[Tensor, "queries dim"]

    def __init__(self, spec: Resampler, dim: int) -> None:
        super().__init__()
        self.spec = spec
        num_heads = spec.num_heads(dim)
        head_dim = heads_of(dim, num_heads=num_heads, what="a resampler")
        self.queries = learned_queries(spec.num_learned, dim, std=0.02)
        self.query_norm = make_norm("layer", dim=dim, eps=spec.eps)
        self.attention = Attention(dim=dim, key_dim=dim, num_heads=num_heads, head_dim=head_dim)
        rows, cols = spec.query_grid
        table = sincos_table(rows=rows, cols=cols, dim=dim)
        if spec.has_table:
            self.register_buffer("table", table)

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch queries dim"]:
        queries = self.query_norm(self.select(self.queries))
        if self.spec.has_query_positions:
            queries = queries + self.select(self.table)
        keys = add_to_frames(features, self.key_table(grid.spatial("resample by position")).to(features))
        return self.attention(queries[None], keys, features)

    def select(self, rows: Float[Tensor, "all dim"]) -> Float[Tensor, "queries dim"]:
        """Take the rows of the queries that are used.

        Args:
            rows: one for each query.
        """
        return rows[list(self.spec.used)] if self.spec.num_used else rows

    def key_table(self, grid: Grid) -> Float[Tensor, "places dim"]:
        """Return the positions of the keys of one frame."""
        if self.spec.key_positions == "computed":
            dim, device = self.queries.shape[-1], self.queries.device
            return sincos_table(rows=grid.rows, cols=grid.cols, dim=dim, device=device)
        rows, cols = self.spec.query_grid
        return resize_table(self.table, rows=rows, cols=cols, out_rows=grid.rows, out_cols=grid.cols)
