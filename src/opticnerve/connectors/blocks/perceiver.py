"""Perceiver: latents that look at all features again and again, and think in between."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.attention import Attention, attention_flops
from opticnerve.connectors.blocks.base import IN, Block, BlockSpec, Dim, fixed
from opticnerve.connectors.blocks.feed_forward import FeedForward, GatedFeedForward
from opticnerve.connectors.blocks.linear import ActivationKind
from opticnerve.connectors.blocks.norm import NormKind, make_norm
from opticnerve.errors import SpecError
from opticnerve.grid import Places, Queries

Residual = Literal["raw", "normed"]
Gate = Literal["none", "plain", "normed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Perceiver(BlockSpec):
    """Layers of cross-attention from latents to features and latents together, each with a feed-forward network.

    Any number of features becomes `num_latents` tokens of the same width. Prefix tokens and frames are features like
    all others: there are no positions here, so what the features do not carry themselves is lost.

    Source: Alayrac et al., "Flamingo", 2022, section 3.1.1 (PerceiverResampler of open_flamingo, helpers.py); Idefics
    and Idefics2 (transformers); resampler of Honeybee (resamplers.py).
    """

    kind: ClassVar[str] = "perceiver"

    num_latents: int = 64
    """Latents, which are the tokens that come out."""
    depth: int = 6
    """Layers."""
    num_heads: int = 8
    """Heads of the latents."""
    head_dim: int = 64
    """Channels of a head; all heads together need not be as wide as the block."""
    kv_group: int = 1
    """Heads of the latents that share one head of keys and values (grouped-query attention)."""
    has_bias: bool = False
    """Whether the Linears have a bias."""
    has_qk_norm: bool = False
    """Whether a layer norm stands over each head of queries and keys (Idefics)."""
    norm: NormKind = "layer"
    """Norm before attention (features and latents) and before the feed-forward network."""
    eps: float = 1e-5
    """Of these norms."""
    residual: Residual = "raw"
    """What attention is added to: the latents, or the latents after their norm (Honeybee)."""
    feed_forward_dim: Dim = IN * 4
    """Hidden width of the feed-forward networks."""
    function: ActivationKind = "gelu"
    """Their nonlinearity."""
    gate: Gate = "none"
    """Two Linears; or three with a gate (SwiGLU); or with a gate and a layer norm inside (Honeybee)."""
    gate_eps: float = 1e-6
    """Of the layer norm inside the gate, where there is one."""
    has_last_norm: bool = True
    """Whether a norm follows the last layer."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        least = min(self.num_latents, self.depth, self.num_heads, self.head_dim, self.kv_group)
        if least < 1:
            raise SpecError(
                f"a perceiver needs at least 1 of everything, got num_latents={self.num_latents}, depth={self.depth}, "
                f"num_heads={self.num_heads}, head_dim={self.head_dim}, kv_group={self.kv_group}"
            )
        if self.num_heads % self.kv_group:
            raise SpecError(
                f"{self.num_heads} heads cannot share keys and values in groups of {self.kv_group}: "
                f"num_heads must be a multiple of kv_group"
            )

    @override
    def out_grid(self, grid: Places) -> Queries:
        return Queries(self.num_latents)

    @override
    def flops(self, grid: Places, dim: int) -> int:
        attention = attention_flops(
            queries=self.num_latents,
            keys=grid.size + self.num_latents,
            dim=dim,
            key_dim=dim,
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            kv_group=self.kv_group,
        )
        matrices = 2 if self.gate == "none" else 3
        return self.depth * (attention + 2 * matrices * self.num_latents * dim * fixed(self.feed_forward_dim))

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        keys = grid.size + self.num_latents
        inner = self.num_heads * self.head_dim
        features_and_joined = (grid.size + keys) * dim
        normed_or_mapped = max(grid.size * dim, 2 * keys * inner // self.kv_group)
        return features_and_joined + normed_or_mapped + 2 * self.num_latents * (dim + inner)

    @override
    def build(self, dim: int) -> "PerceiverBlock":
        return PerceiverBlock(self, dim)


class PerceiverBlock(Block):
    """Applies `Perceiver`."""

    def __init__(self, spec: Perceiver, dim: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(spec.num_latents, dim))
        self.layers = nn.ModuleList(PerceiverLayer(spec, dim) for _ in range(spec.depth))
        self.norm = make_norm(spec.norm, dim=dim, eps=spec.eps) if spec.has_last_norm else nn.Identity()

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch latents dim"]:
        latents = self.latents.expand(features.shape[0], -1, -1)
        for layer in self.layers:
            latents = layer(latents, features)
        return self.norm(latents)


class PerceiverLayer(nn.Module):
    """Latents look at features and latents, then pass a feed-forward network; norms come first."""

    def __init__(self, spec: Perceiver, dim: int) -> None:
        super().__init__()
        self.residual: Residual = spec.residual
        self.latent_norm = make_norm(spec.norm, dim=dim, eps=spec.eps)
        self.feature_norm = make_norm(spec.norm, dim=dim, eps=spec.eps)
        self.attention = Attention(
            dim=dim,
            key_dim=dim,
            num_heads=spec.num_heads,
            head_dim=spec.head_dim,
            kv_group=spec.kv_group,
            has_bias=spec.has_bias,
            qk_norm_eps=1e-5 if spec.has_qk_norm else None,
        )
        self.feed_forward_norm = make_norm(spec.norm, dim=dim, eps=spec.eps)
        self.feed_forward = _feed_forward(spec, dim)

    @override
    def forward(
        self, latents: Float[Tensor, "batch latents dim"], features: Float[Tensor, "batch positions dim"]
    ) -> Float[Tensor, "batch latents dim"]:
        normed = self.latent_norm(latents)
        seen = torch.cat([self.feature_norm(features), normed], dim=1)
        latents = (latents if self.residual == "raw" else normed) + self.attention(normed, seen, seen)
        return latents + self.feed_forward(self.feed_forward_norm(latents))


def _feed_forward(spec: Perceiver, dim: int) -> nn.Module:
    hidden_dim = fixed(spec.feed_forward_dim)
    if spec.gate == "none":
        return FeedForward(dim=dim, hidden_dim=hidden_dim, out_dim=dim, function=spec.function, has_bias=spec.has_bias)
    return GatedFeedForward(
        dim=dim,
        hidden_dim=hidden_dim,
        out_dim=dim,
        function=spec.function,
        has_bias=spec.has_bias,
        norm_eps=spec.gate_eps if spec.gate == "normed" else None,
    )
