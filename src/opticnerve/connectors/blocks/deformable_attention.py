"""Deformable attention: every query reads a few points of a map, wherever it wants to."""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override


class DeformableAttention(nn.Module):
    """Each head of each query reads `num_points` points around a reference point and weighs what it finds there.

    Source: Zhu et al., "Deformable DETR", 2021, section 4.1, with one feature level; transformers'
    DeformableDetrMultiscaleDeformableAttention.
    """

    def __init__(self, *, dim: int, num_heads: int, num_points: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_points = num_points
        self.offsets = nn.Linear(dim, num_heads * num_points * 2)
        self.weights = nn.Linear(dim, num_heads * num_points)
        self.value_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        self._initialise()

    def _initialise(self) -> None:
        """Start with equal weights on a star of points: each head in its own direction, one patch further each."""
        for layer in (self.offsets, self.weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.value_proj, self.out_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        angles = torch.arange(self.num_heads) * (2.0 * math.pi / self.num_heads)
        directions = torch.stack((angles.cos(), angles.sin()), -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1)
        with torch.no_grad():
            self.offsets.bias.copy_((directions[:, None] * steps[:, None]).flatten())

    @override
    def forward(
        self,
        queries: Float[Tensor, "batch queries dim"],
        maps: Float[Tensor, "batch patches dim"],
        points: Float[Tensor, "queries 2"],
        *,
        rows: int,
        cols: int,
    ) -> Float[Tensor, "batch queries dim"]:
        """Read the maps around the reference points.

        Args:
            queries: what says how far from its reference point each query looks, and how it weighs what it finds.
            maps: what is read, in raster order.
            points: the reference point of each query, (x, y) in parts of the whole map.
            rows: rows of the map.
            cols: columns of the map.
        """
        value = rearrange(self.value_proj(maps), "b (h w) (n d) -> (b n) d h w", h=rows, w=cols, n=self.num_heads)
        offsets = rearrange(self.offsets(queries).float(), "b q (n p xy) -> b n q p xy", n=self.num_heads, xy=2)
        weights = rearrange(self.weights(queries).float(), "b q (n p) -> (b n) q p", n=self.num_heads)
        x, y = offsets.unbind(-1)
        places = points.float()[:, None] + torch.stack((x * (1.0 / cols), y * (1.0 / rows)), dim=-1)
        read = sample(value, rearrange(places, "b n q p xy -> (b n) q p xy"), weights.softmax(-1))
        return self.out_proj(rearrange(read, "(b n) q d -> b q (n d)", n=self.num_heads).to(queries.dtype))


def sample(
    maps: Float[Tensor, "batch dim rows cols"],
    places: Float[Tensor, "batch queries points 2"],
    weights: Float[Tensor, "batch queries points"],
) -> Float[Tensor, "batch queries dim"]:
    """Interpolate maps at some places and add up what is found there, in float32.

    Args:
        maps: what is read; zero outside.
        places: (x, y) in parts of the whole map: 0 is its left or upper edge, 1 its right or lower one.
        weights: what each point counts.
    """
    found = F.grid_sample(maps.float(), 2.0 * places - 1.0, mode="bilinear", padding_mode="zeros", align_corners=False)
    return rearrange((found * weights[:, None]).sum(-1), "b d q -> b q d")
