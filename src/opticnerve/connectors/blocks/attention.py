"""Multi-head attention from one set of tokens to another: the mathematics that all resamplers share."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.norm import LayerNorm
from opticnerve.errors import SpecError


class Attention(nn.Module):
    """Queries look at keys and take a weighted mean of values; four Linears around it. As many tokens as queries.

    Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.2; Ainslie et al., "GQA", 2023 (shared keys and
    values); Henry et al., "Query-Key Normalization", 2020, with a layer norm for each head as in Idefics.
    """

    def __init__(
        self,
        *,
        dim: int,
        key_dim: int,
        num_heads: int,
        head_dim: int,
        kv_group: int = 1,
        has_bias: bool = True,
        qk_norm_eps: float | None = None,
        out_dim: int | None = None,
    ) -> None:
        """Make the four Linears.

        Args:
            dim: width of the queries.
            key_dim: width of what keys and values are made from.
            num_heads: heads of the queries.
            head_dim: channels of one head; all heads together need not be `dim` wide.
            kv_group: query heads that share one head of keys and values.
            has_bias: whether the Linears have a bias.
            qk_norm_eps: of the layer norms over each head of queries and keys; None for no norms.
            out_dim: width of what comes out; None for that of the queries.
        """
        super().__init__()
        self.num_heads = num_heads
        self.num_kv_heads = num_heads // kv_group
        inner, kv_inner = num_heads * head_dim, self.num_kv_heads * head_dim
        self.query = nn.Linear(dim, inner, bias=has_bias)
        self.key = nn.Linear(key_dim, kv_inner, bias=has_bias)
        self.value = nn.Linear(key_dim, kv_inner, bias=has_bias)
        self.out = nn.Linear(inner, out_dim or dim, bias=has_bias)
        has_norm = qk_norm_eps is not None
        self.query_norm = LayerNorm(head_dim, eps=qk_norm_eps) if has_norm else nn.Identity()
        self.key_norm = LayerNorm(head_dim, eps=qk_norm_eps) if has_norm else nn.Identity()

    @override
    def forward(
        self,
        queries: Float[Tensor, "query_batch queries dim"],
        keys: Float[Tensor, "batch keys key_dim"],
        values: Float[Tensor, "batch keys key_dim"],
        mask: Bool[Tensor, "batch 1 1 keys"] | None = None,
    ) -> Float[Tensor, "batch queries out_dim"]:
        """Attend.

        Args:
            queries: one set for each image, or one set for all (query_batch 1).
            keys: what the queries are compared with.
            values: what is averaged; the same tokens as the keys, with or without their positions.
            mask: True where a key may be looked at.
        """
        q = self.query_norm(_heads(self.query(queries), self.num_heads))
        k = self.key_norm(_heads(self.key(keys), self.num_kv_heads))
        v = _heads(self.value(values), self.num_kv_heads)
        q = q.expand(k.shape[0], -1, -1, -1)
        is_grouped = self.num_kv_heads != self.num_heads
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=is_grouped)
        return self.out(rearrange(mixed, "b h n c -> b n (h c)"))


def _heads(x: Float[Tensor, "batch tokens inner"], num: int) -> Float[Tensor, "batch heads tokens head_dim"]:
    return rearrange(x, "b n (h c) -> b h n c", h=num)


def attention_flops(
    *, queries: int, keys: int, dim: int, key_dim: int, num_heads: int, head_dim: int, kv_group: int = 1
) -> int:
    """Count the floating-point operations of `Attention`: four Linears and two matrix products.

    Args:
        queries: how many queries.
        keys: how many keys.
        dim: width of the queries.
        key_dim: width of what keys and values are made from.
        num_heads: heads of the queries.
        head_dim: channels of one head.
        kv_group: query heads that share one head of keys and values.
    """
    inner = num_heads * head_dim
    linears = 2 * queries * dim * inner + 2 * keys * key_dim * (inner // kv_group)
    return 2 * (linears + 2 * queries * keys * inner)


def heads_of(dim: int, *, num_heads: int, what: str) -> int:
    """Return the channels of a head, for heads that share the width.

    Raises:
        SpecError: the heads do not divide the width.
    """
    if num_heads < 1 or dim % num_heads:
        fit = ", ".join(str(heads) for heads in range(1, min(dim, 64) + 1) if dim % heads == 0)
        raise SpecError(f"{what} cannot divide {dim} channels among {num_heads} heads; numbers that fit: {fit}")
    return dim // num_heads


def learned_queries(num: int, dim: int, *, std: float) -> nn.Parameter:
    """Make learned queries with random first values.

    Args:
        num: how many.
        dim: their width.
        std: standard deviation of the first values.
    """
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(num, dim), std=std, a=-2 * std, b=2 * std))
