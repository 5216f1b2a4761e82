"""Connectors as the original repositories compute them: pools, LDPv2, merges, and a whole vision tower.

Parameters have the published names, so that published tensors load without a word. Written anew from what the originals
do, step by step, with the copies and permutations that they make; `tests/benchmarks` checks them against recorded runs.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


def get_2d_pool(features: Tensor, *, mode: str, stride: int = 2) -> Tensor:
    """Pool a square grid: LLaVA-NeXT, llava_arch.py, get_2dPool.

    Args:
        features: (frames, patches, dim).
        mode: "average", "max" or "bilinear".
        stride: patches a side that become one.
    """
    frames, patches, dim = features.shape
    side = math.isqrt(patches)
    maps = features.view(frames, side, side, dim).permute(0, 3, 1, 2).contiguous()
    if mode == "average":
        maps = F.avg_pool2d(maps, stride)
    elif mode == "max":
        maps = F.max_pool2d(maps, stride)
    else:
        maps = F.interpolate(maps, size=[math.ceil(side / stride)] * 2, mode="bilinear")
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


class LlavaOneVision(nn.Sequential):
    """LLaVA-OneVision's projector, and the pool that follows it for the frames of a video: project, then pool."""

    def __init__(self, *, vision_dim: int, llm_dim: int, mode: str = "bilinear") -> None:
        super().__init__(nn.Linear(vision_dim, llm_dim), nn.GELU(), nn.Linear(llm_dim, llm_dim))
        self.mode = mode

    def forward(self, features: Tensor) -> Tensor:
        """(frames, patches, vision_dim) -> (frames, tokens, llm_dim)."""
        return get_2d_pool(super().forward(features), mode=self.mode)


class PLLaVA(nn.Module):
    """PLLaVA's projector: modeling_pllava.py, PllavaMultiModalProjector."""

    def __init__(self, *, vision_dim: int, llm_dim: int, pooling_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(vision_dim, llm_dim)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(llm_dim, llm_dim)
        self.pool = nn.AdaptiveAvgPool3d(pooling_shape)
        self.num_frames = pooling_shape[0]

    def forward(self, features: Tensor) -> Tensor:
        """(videos * frames, patches, vision_dim) -> (videos, tokens, llm_dim)."""
        hidden = self.linear_2(self.act(self.linear_1(features)))
        _, patches, dim = hidden.shape
        side = math.isqrt(patches)
        maps = hidden.view(-1, self.num_frames, side, side, dim).permute(0, 4, 1, 2, 3)
        return self.pool(maps).permute(0, 2, 3, 4, 1).reshape(maps.shape[0], -1, dim)


class LDPv2(nn.Module):
    """MobileVLM V2's projector: vision_projector.py, LDPNetV2Projector."""

    def __init__(self, *, vision_dim: int, llm_dim: int) -> None:
        super().__init__()
        layers = nn.Sequential(nn.Linear(vision_dim, llm_dim), nn.GELU(), nn.Linear(llm_dim, llm_dim))
        self.mlp = nn.ModuleDict({"mlp": layers})
        self.dwn = nn.AdaptiveAvgPool2d((12, 12))
        convolution = nn.Conv2d(llm_dim, llm_dim, 3, 1, 1, groups=llm_dim)
        self.peg = nn.ModuleDict({"peg": nn.Sequential(convolution)})

    def forward(self, features: Tensor) -> Tensor:
        """(batch, patches, vision_dim) -> (batch, 144, llm_dim)."""
        hidden = self.mlp["mlp"](features)
        batch, patches, dim = hidden.shape
        side = math.isqrt(patches)
        maps = self.dwn(hidden.permute(0, 2, 1).reshape(batch, dim, side, side))
        tokens = maps.flatten(2).transpose(1, 2)
        maps = tokens.transpose(1, 2).view(batch, dim, 12, 12)
        return (self.peg["peg"](maps) + maps).flatten(2).transpose(1, 2)


class Qwen2VLMerger(nn.Module):
    """Qwen2-VL's merger, which takes patches block by block: transformers, qwen2_vl, PatchMerger."""

    def __init__(self, *, vision_dim: int, llm_dim: int) -> None:
        super().__init__()
        self.merged_dim = 4 * vision_dim
        self.ln_q = nn.LayerNorm(vision_dim, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(self.merged_dim, self.merged_dim), nn.GELU(), nn.Linear(self.merged_dim, llm_dim)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(patches of all images, vision_dim) -> (tokens of all images, llm_dim)."""
        return self.mlp(self.ln_q(features).view(-1, self.merged_dim))


class InternVL(nn.Module):
    """InternVL's pixel shuffle and MLP: modeling_internvl_chat.py, pixel_shuffle (v2) and extract_feature."""

    def __init__(self, *, vision_dim: int, llm_dim: int) -> None:
        super().__init__()
        self.mlp1 = nn.Sequential(
            nn.LayerNorm(4 * vision_dim), nn.Linear(4 * vision_dim, llm_dim), nn.GELU(), nn.Linear(llm_dim, llm_dim)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(batch, CLS and patches, vision_dim) -> (batch, tokens, llm_dim)."""
        patches = features[:, 1:, :]
        side = math.isqrt(patches.shape[1])
        maps = _pixel_shuffle(patches.reshape(patches.shape[0], side, side, -1), scale=0.5)
        return self.mlp1(maps.reshape(maps.shape[0], -1, maps.shape[-1]))


def _pixel_shuffle(maps: Tensor, *, scale: float) -> Tensor:
    batch, width, height, dim = maps.shape
    maps = maps.view(batch, width, int(height * scale), int(dim / scale)).permute(0, 2, 1, 3).contiguous()
    maps = maps.view(batch, int(height * scale), int(width * scale), int(dim / (scale * scale)))
    return maps.permute(0, 2, 1, 3).contiguous()


class S2Wrapper(nn.Module):
    """S2 as its package computes it, scaling-on-scales: one run of the encoder for each scale."""

    def __init__(self, tower: nn.Module, *, scales: tuple[int, ...]) -> None:
        super().__init__()
        self.tower = tower
        self.scales = scales

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, side, side) -> (batch, patches, dim * scales)."""
        from s2wrapper import forward

        return forward(lambda tiles: self.tower(tiles).last_hidden_state, pixels, scales=list(self.scales))


class SecondLastLayer(nn.Module):
    """The whole vision model with all hidden states, of which one is taken: LLaVA, clip_encoder.py, select_layer -2."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, side, side) -> (batch, patches, dim)."""
        states: Any = self.tower(pixels, output_hidden_states=True).hidden_states
        return torch.as_tensor(states[-2])
