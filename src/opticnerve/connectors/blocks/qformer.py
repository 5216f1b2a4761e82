"""Q-Former: a BERT whose tokens are learned queries that look at the image in every other layer."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.attention import Attention, attention_flops, heads_of, learned_queries
from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.connectors.blocks.feed_forward import FeedForward
from opticnerve.connectors.blocks.norm import make_norm
from opticnerve.errors import SpecError
from opticnerve.grid import Places, Queries


@dataclass(frozen=True, kw_only=True, slots=True)
class QFormer(BlockSpec):
    """Learned queries that talk to each other in every layer and look at the features in some of them.

    Any number of features becomes `num_queries` tokens of width `hidden_dim`. Prefix tokens and frames are features
    like all others: there are no positions here, so what the features do not carry themselves is lost.

    Source: Li et al., "BLIP-2", 2023, section 3.1; Qformer.py of LAVIS, Blip2QFormerModel of transformers.
    Differs: no dropout, which the published code has in training (0.1).
    """

    kind: ClassVar[str] = "qformer"

    num_queries: int = 32
    """Queries, which are the tokens that come out."""
    hidden_dim: int = 768
    """Width of the queries."""
    num_layers: int = 12
    """Layers."""
    num_heads: int = 12
    """Heads, in self-attention and cross-attention."""
    cross_attention_freq: int = 2
    """Cross-attention stands in layers 0, freq, 2 freq and so on."""
    feed_forward_dim: int = 3072
    """Hidden width of the feed-forward networks."""
    eps: float = 1e-12
    """Of the layer norms."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        least = min(self.num_queries, self.num_layers, self.cross_attention_freq, self.feed_forward_dim)
        if least < 1:
            raise SpecError(
                f"a Q-Former needs at least 1 of everything, got num_queries={self.num_queries}, num_layers="
                f"{self.num_layers}, cross_attention_freq={self.cross_attention_freq}, feed_forward_dim="
                f"{self.feed_forward_dim}"
            )
        heads_of(self.hidden_dim, num_heads=self.num_heads, what="a Q-Former")

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.hidden_dim // self.num_heads

    def looks(self, layer: int) -> bool:
        """Say whether a layer has cross-attention."""
        return layer % self.cross_attention_freq == 0

    @override
    def out_grid(self, grid: Places) -> Queries:
        return Queries(self.num_queries)

    @override
    def out_dim(self, dim: int) -> int:
        return self.hidden_dim

    @override
    def flops(self, grid: Places, dim: int) -> int:
        queries = self.num_queries
        talk = self.attention_flops(queries=queries, keys=queries, key_dim=self.hidden_dim)
        look = self.attention_flops(queries=queries, keys=grid.size, key_dim=dim)
        think = 4 * queries * self.hidden_dim * self.feed_forward_dim
        return self.num_layers * (talk + think) + sum(map(self.looks, range(self.num_layers))) * look

    def attention_flops(self, *, queries: int, keys: int, key_dim: int) -> int:
        """Count the floating-point operations of one attention of this Q-Former."""
        return attention_flops(
            queries=queries,
            keys=keys,
            dim=self.hidden_dim,
            key_dim=key_dim,
            num_heads=self.num_heads,
            head_dim=self.head_dim,
        )

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        keys_and_values = 2 * grid.size * self.hidden_dim
        widest = max(keys_and_values + 3 * self.num_queries * self.hidden_dim, self.num_queries * self.feed_forward_dim)
        return grid.size * dim + self.num_queries * self.hidden_dim + widest

    @override
    def build(self, dim: int) -> Block:
        return QFormerBlock(self, dim)


class QFormerBlock(Block):
    """Applies `QFormer`."""

    def __init__(self, spec: QFormer, dim: int) -> None:
        super().__init__()
        self.queries = learned_queries(spec.num_queries, spec.hidden_dim, std=0.02)
        self.norm = make_norm("layer", dim=spec.hidden_dim, eps=spec.eps)
        self.layers = nn.ModuleList(
            QFormerLayer(spec, key_dim=dim if spec.looks(layer) else 0) for layer in range(spec.num_layers)
        )

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch queries hidden"]:
        queries = self.norm(self.queries).expand(features.shape[0], -1, -1)
        for layer in self.layers:
            queries = layer(queries, features)
        return queries


class QFormerLayer(nn.Module):
    """Queries talk, look where the layer has cross-attention, and think; norms come after each residual."""

    def __init__(self, spec: QFormer, *, key_dim: int) -> None:
        """Make the layer.

        Args:
            spec: the Q-Former.
            key_dim: width of the features; 0 for a layer without cross-attention.
        """
        super().__init__()
        self.talk = PostNormAttention(spec, key_dim=spec.hidden_dim)
        self.look = PostNormAttention(spec, key_dim=key_dim) if key_dim else None
        self.think = PostNormFeedForward(spec)

    @override
    def forward(
        self, queries: Float[Tensor, "batch queries hidden"], features: Float[Tensor, "batch positions dim"]
    ) -> Float[Tensor, "batch queries hidden"]:
        return self.look_and_think(self.talk(queries, queries), features)

    def look_and_think(
        self, queries: Float[Tensor, "batch queries hidden"], features: Float[Tensor, "batch positions dim"]
    ) -> Float[Tensor, "batch queries hidden"]:
        """Apply the layer to queries that have talked."""
        if self.look is not None:
            queries = self.look(queries, features)
        return self.think(queries)


class PostNormAttention(nn.Module):
    """Attention, residual, layer norm."""

    def __init__(self, spec: QFormer, *, key_dim: int) -> None:
        super().__init__()
        self.attention = Attention(
            dim=spec.hidden_dim, key_dim=key_dim, num_heads=spec.num_heads, head_dim=spec.head_dim
        )
        self.norm = make_norm("layer", dim=spec.hidden_dim, eps=spec.eps)

    @override
    def forward(
        self,
        queries: Float[Tensor, "batch queries hidden"],
        keys: Float[Tensor, "batch keys key_dim"],
        mask: Bool[Tensor, "batch 1 1 keys"] | None = None,
    ) -> Float[Tensor, "batch queries hidden"]:
        return self.norm(queries + self.attention(queries, keys, keys, mask))


class PostNormFeedForward(nn.Module):
    """Two Linears with an exact GELU, residual, layer norm."""

    def __init__(self, spec: QFormer) -> None:
        super().__init__()
        dim = spec.hidden_dim
        self.feed_forward = FeedForward(
            dim=dim, hidden_dim=spec.feed_forward_dim, out_dim=dim, function="gelu", has_bias=True
        )
        self.norm = make_norm("layer", dim=dim, eps=spec.eps)

    @override
    def forward(self, x: Float[Tensor, "batch tokens hidden"]) -> Float[Tensor, "batch tokens hidden"]:
        return self.norm(x + self.feed_forward(x))
