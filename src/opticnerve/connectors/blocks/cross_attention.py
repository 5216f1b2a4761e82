"""Cross-attention: learned queries look once at all features, without positions, and nothing follows."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.attention import Attention, attention_flops, heads_of, learned_queries
from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.connectors.blocks.norm import make_norm
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Places, Queries


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossAttention(BlockSpec):
    """One cross-attention of learned queries over the features: no residual, no feed-forward network, the width stays.

    Any number of features becomes `num_queries` tokens; or as many of them as `queries_by_side` says for the size of
    the image. Prefix tokens and frames are features like all others: there are no positions here, so what the features
    do not carry themselves is lost.

    Source: AriaProjector, Kosmos2ImageToTextProjection and Kosmos2_5ImageToTextProjection of transformers, without the
    Linears and norms around the attention. Differs: where Aria masks the patches of padding, they are left out.
    """

    kind: ClassVar[str] = "cross_attention"

    num_queries: int = 64
    """Learned queries."""
    queries_by_side: tuple[tuple[int, int], ...] = ()
    """Pairs of a side in patches, and how many queries look at an image whose longer side it is: the first ones (Aria).
    A grid of another side is refused. Empty for all queries on every grid."""
    num_heads: int = 8
    """Heads, which share the width."""
    sees_queries: bool = False
    """Whether the queries look at themselves too, after the features (Kosmos-2)."""
    has_norms: bool = False
    """Whether a layer norm stands over the queries, and one over the features (Aria)."""
    eps: float = 1e-5
    """Of these norms."""
    has_inner_linears: bool = False
    """Whether queries, keys and values pass a Linear without bias before those of the attention (Aria)."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.num_queries < 1 or self.num_heads < 1:
            raise SpecError(
                f"a cross-attention needs at least 1 query and 1 head, got num_queries={self.num_queries} and "
                f"num_heads={self.num_heads}"
            )
        sides = [side for side, _ in self.queries_by_side]
        if len(set(sides)) < len(sides) or any(
            side < 1 or not 1 <= num <= self.num_queries for side, num in self.queries_by_side
        ):
            raise SpecError(
                f"queries_by_side needs every side once, with 1 to {self.num_queries} queries (num_queries), got "
                f"{self.queries_by_side}"
            )

    @override
    def out_grid(self, grid: Places) -> Queries:
        if not self.queries_by_side:
            return Queries(self.num_queries)
        patches = grid.spatial("count queries by side")
        side = max(patches.rows, patches.cols)
        known = dict(self.queries_by_side)
        if side not in known or patches.frames > 1:
            listed = ", ".join(map(str, known))
            raise GridError(
                f"there are numbers of queries for one image whose longer side has {listed} patches, but the grid is "
                f"{grid}: resize the image so that its longer side fits, and pass frames one by one"
            )
        return Queries(known[side])

    @override
    def flops(self, grid: Places, dim: int) -> int:
        queries = self.out_grid(grid).num
        keys = self._num_keys(grid)
        attention = attention_flops(
            queries=queries,
            keys=keys,
            dim=dim,
            key_dim=dim,
            num_heads=self.num_heads,
            head_dim=dim // self.num_heads,
        )
        return attention + 2 * (queries + 2 * keys) * dim * dim * self.has_inner_linears

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        keys = self._num_keys(grid)
        normed = grid.size * self.has_norms
        joined = keys * self.sees_queries
        inner = 2 * keys * self.has_inner_linears
        keys_and_values = 2 * keys
        return (grid.size + normed + joined + inner + keys_and_values + 3 * self.out_grid(grid).num) * dim

    def _num_keys(self, grid: Places) -> int:
        return grid.size + self.out_grid(grid).num * self.sees_queries

    @override
    def build(self, dim: int) -> "CrossAttentionBlock":
        return CrossAttentionBlock(self, dim)


class CrossAttentionBlock(Block):
    """Applies `CrossAttention`."""

    def __init__(self, spec: CrossAttention, dim: int) -> None:
        super().__init__()
        self.spec = spec
        head_dim = heads_of(dim, num_heads=spec.num_heads, what="a cross-attention")
        self.queries = learned_queries(spec.num_queries, dim, std=0.02)
        self.query_norm = make_norm("layer", dim=dim, eps=spec.eps) if spec.has_norms else nn.Identity()
        self.feature_norm = make_norm("layer", dim=dim, eps=spec.eps) if spec.has_norms else nn.Identity()
        self.query = _inner_linear(spec, dim)
        self.key = _inner_linear(spec, dim)
        self.value = _inner_linear(spec, dim)
        self.attention = Attention(dim=dim, key_dim=dim, num_heads=spec.num_heads, head_dim=head_dim)

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch queries dim"]:
        queries = self.query_norm(self.queries[: self.spec.out_grid(grid).num])[None]
        seen = self.feature_norm(features)
        if self.spec.sees_queries:
            seen = torch.cat([seen, queries.expand(len(features), -1, -1)], dim=1)
        return self.attention(self.query(queries), self.key(seen), self.value(seen))


def _inner_linear(spec: CrossAttention, dim: int) -> nn.Module:
    return nn.Linear(dim, dim, bias=False) if spec.has_inner_linears else nn.Identity()
