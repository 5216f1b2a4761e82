"""Resamplers and the Q-Former as the original repositories compute them; see originals.py."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pad_sequence


def sincos_table(rows: int, cols: int, *, dim: int) -> Tensor:
    """Make 2-D sines and cosines in float64, and round them: get_2d_sincos_pos_embed of MAE.

    Args:
        rows: rows of the grid.
        cols: columns of the grid.
        dim: channels.

    Returns:
        (rows, cols, dim) in float32.
    """

    def line(places: np.ndarray) -> np.ndarray:
        omega = 1.0 / 10000 ** (np.arange(dim // 4, dtype=np.float64) / (dim / 4.0))
        angles = np.outer(places.reshape(-1), omega)
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    across, down = np.meshgrid(np.arange(cols, dtype=np.float64), np.arange(rows, dtype=np.float64))
    table = np.concatenate([line(across), line(down)], axis=1)
    return torch.from_numpy(table.astype(np.float32)).view(rows, cols, dim)


class _Attention(nn.Module):
    """What the resamplers of Qwen-VL and MiniCPM-V share."""

    def __init__(self, *, num_queries: int, vision_dim: int, dim: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(num_queries, dim))
        self.kv_proj = nn.Linear(vision_dim, dim, bias=False)
        self.attn = nn.MultiheadAttention(dim, num_heads)
        self.ln_q = nn.LayerNorm(dim, eps=eps)
        self.ln_kv = nn.LayerNorm(dim, eps=eps)


class _QwenVLResampler(_Attention):
    """Qwen-VL's visual.py, Resampler."""

    def __init__(self, *, num_queries: int, vision_dim: int, dim: int, num_heads: int, eps: float) -> None:
        super().__init__(num_queries=num_queries, vision_dim=vision_dim, dim=dim, num_heads=num_heads, eps=eps)
        self.pos_embed = nn.Parameter(torch.zeros(num_queries, dim), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, patches, vision_dim) -> (batch, queries, dim)."""
        places = _resize(self.pos_embed, features.shape[1])
        keys = self.ln_kv(self.kv_proj(features)).permute(1, 0, 2)
        queries = self.ln_q(self.query).unsqueeze(1).repeat(1, keys.shape[1], 1)
        out, _ = self.attn(queries + self.pos_embed.unsqueeze(1), keys + places.unsqueeze(1), keys)
        return out.permute(1, 0, 2)


def _resize(table: Tensor, patches: int) -> Tensor:
    have, want = math.isqrt(table.shape[0]), math.isqrt(patches)
    if have == want:
        return table
    image = table.float().reshape(1, have, have, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image, size=(want, want), mode="bicubic", align_corners=False)
    return image.permute(0, 2, 3, 1).flatten(0, 2).to(table.dtype)


class QwenVL(nn.Module):
    """Qwen-VL's resampler with the norm and the projection that stand after it in the tower: visual.py."""

    def __init__(
        self, *, num_queries: int, vision_dim: int, dim: int, num_heads: int | None = None, eps: float = 1e-6
    ) -> None:
        super().__init__()
        num_heads = num_heads or dim // 128
        self.attn_pool = _QwenVLResampler(
            num_queries=num_queries, vision_dim=vision_dim, dim=dim, num_heads=num_heads, eps=eps
        )
        self.ln_post = nn.LayerNorm(dim, eps=eps)
        self.proj = nn.Parameter(torch.zeros(dim, dim))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, patches, vision_dim) -> (batch, queries, dim)."""
        return self.ln_post(self.attn_pool(features)) @ self.proj


class MiniCPM(_Attention):
    """MiniCPM-V 2.5's and 2.6's resampler: resampler.py, with images of several sizes padded and masked."""

    pos_embed: Tensor

    def __init__(
        self, *, num_queries: int, vision_dim: int, dim: int, num_heads: int | None = None, eps: float = 1e-6
    ) -> None:
        num_heads = num_heads or dim // 128
        super().__init__(num_queries=num_queries, vision_dim=vision_dim, dim=dim, num_heads=num_heads, eps=eps)
        self.ln_post = nn.LayerNorm(dim, eps=eps)
        self.proj = nn.Parameter(torch.zeros(dim, dim))
        self.register_buffer("pos_embed", sincos_table(70, 70, dim=dim), persistent=False)

    def forward(self, features: Tensor, sizes: Tensor) -> Tensor:
        """(batch, longest, vision_dim), rows and columns of each image -> (batch, queries, dim)."""
        batch, device = features.shape[0], features.device
        lengths = sizes[:, 0] * sizes[:, 1]
        longest = int(lengths.max())
        mask = torch.zeros((batch, longest), dtype=torch.bool, device=device)
        places: list[Tensor] = []
        for index in range(batch):
            rows, cols = sizes[index].tolist()
            places.append(self.pos_embed[:rows, :cols, :].reshape(rows * cols, -1).to(features.dtype))
            mask[index, lengths[index] :] = True
        padded = pad_sequence(places, batch_first=True, padding_value=0.0).permute(1, 0, 2)
        keys = self.ln_kv(self.kv_proj(features)).permute(1, 0, 2)
        queries = self.ln_q(self.query).unsqueeze(1).repeat(1, batch, 1)
        out, _ = self.attn(queries, keys + padded, keys, key_padding_mask=mask)
        return self.ln_post(out.permute(1, 0, 2)) @ self.proj


class _SelfAttention(nn.Module):
    """LAVIS, Qformer.py, BertSelfAttention: for queries among themselves, or over features."""

    def __init__(self, *, dim: int, key_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(key_dim, dim)
        self.value = nn.Linear(key_dim, dim)

    def forward(self, queries: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """Mix the values of the features for each query."""
        key, value = self._heads(self.key(features)), self._heads(self.value(features))
        query = self._heads(self.query(queries))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
        weights = nn.Softmax(dim=-1)(scores + mask)
        return torch.matmul(weights, value).permute(0, 2, 1, 3).contiguous().flatten(2)

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.view(*tokens.shape[:2], self.num_heads, -1).permute(0, 2, 1, 3)


class _Output(nn.Module):
    def __init__(self, *, hidden_dim: int, dim: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_dim, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps=eps)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        """Project, add what was there, and norm."""
        return self.LayerNorm(self.dense(hidden) + residual)


def _attention(*, dim: int, key_dim: int, num_heads: int, eps: float) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "self": _SelfAttention(dim=dim, key_dim=key_dim, num_heads=num_heads),
            "output": _Output(hidden_dim=dim, dim=dim, eps=eps),
        }
    )


class _Layer(nn.Module):
    def __init__(self, *, dim: int, key_dim: int, num_heads: int, ffn_dim: int, eps: float) -> None:
        super().__init__()
        self.attention = _attention(dim=dim, key_dim=dim, num_heads=num_heads, eps=eps)
        self.crossattention = _attention(dim=dim, key_dim=key_dim, num_heads=num_heads, eps=eps) if key_dim else None
        self.intermediate_query = nn.ModuleDict({"dense": nn.Linear(dim, ffn_dim)})
        self.output_query = _Output(hidden_dim=ffn_dim, dim=dim, eps=eps)

    def forward(self, queries: Tensor, features: Tensor, masks: tuple[Tensor, Tensor]) -> Tensor:
        """Apply the layer."""
        mixed = self.attention["self"](queries, queries, masks[0])
        queries = self.attention["output"](mixed, queries)
        if self.crossattention is not None:
            mixed = self.crossattention["self"](queries, features, masks[1])
            queries = self.crossattention["output"](mixed, queries)
        hidden = F.gelu(self.intermediate_query["dense"](queries))
        return self.output_query(hidden, queries)


class Blip2(nn.Module):
    """BLIP-2's Q-Former from ln_vision to opt_proj: LAVIS, Qformer.py and blip2_opt.py.

    Differs: no dropout, and the first norm is not brought to float32 and back, which changes nothing in float32.
    """

    def __init__(
        self,
        *,
        vision_dim: int,
        llm_dim: int,
        num_queries: int = 32,
        dim: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        ffn_dim: int = 3072,
        freq: int = 2,
    ) -> None:
        super().__init__()
        eps = 1e-12
        self.ln_vision = nn.LayerNorm(vision_dim, eps=1e-5)
        self.query_tokens = nn.Parameter(torch.zeros(1, num_queries, dim))
        layers = (
            _Layer(dim=dim, key_dim=0 if index % freq else vision_dim, num_heads=num_heads, ffn_dim=ffn_dim, eps=eps)
            for index in range(num_layers)
        )
        embeddings = nn.ModuleDict({"LayerNorm": nn.LayerNorm(dim, eps=eps)})
        encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})
        self.Qformer = nn.ModuleDict({"bert": nn.ModuleDict({"embeddings": embeddings, "encoder": encoder})})
        self.opt_proj = nn.Linear(dim, llm_dim)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, CLS and patches, vision_dim) -> (batch, queries, llm_dim)."""
        features = self.ln_vision(features)
        bert = self.Qformer["bert"]
        queries = bert["embeddings"]["LayerNorm"](self.query_tokens.expand(features.shape[0], -1, -1))
        masks = tuple(
            (1.0 - torch.ones(features.shape[0], 1, 1, length, device=features.device, dtype=features.dtype)) * -10000.0
            for length in (queries.shape[1], features.shape[1])
        )
        layers: Iterable[nn.Module] = bert["encoder"]["layer"]
        for layer in layers:
            queries = layer(queries, features, masks)
        return self.opt_proj(queries)
