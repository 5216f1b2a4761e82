"""The parts of the bundled encoder: convolutions of the stem, a transformer block, positions."""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override


def sincos_positions(
    rows: int, cols: int, *, dim: int, offset: tuple[int, int] = (0, 0)
) -> Float[Tensor, "rows cols dim"]:
    """Compute sine-cosine positions in [-1, 1]: half of the channels for the row, half for the column.

    Args:
        rows: patches from top to bottom.
        cols: patches from left to right.
        dim: channels, a multiple of 4.
        offset: row and column number of the first patch.
    """
    frequencies = torch.exp(torch.arange(dim // 4) * (-math.log(1000.0) / (dim // 4)))
    axes: list[Tensor] = []
    for start, count in zip(offset, (rows, cols), strict=True):
        angles = (torch.arange(count) + start)[:, None] * frequencies
        axes.append(torch.cat([angles.sin(), angles.cos()], dim=1))
    by_row, by_col = axes[0][:, None], axes[1][None]
    return torch.cat([by_row.expand(rows, cols, -1), by_col.expand(rows, cols, -1)], dim=2)


class ResidualConv(nn.Module):
    """Two 3x3 convolutions with a shortcut; keeps the shape."""

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    @override
    def forward(self, x: Float[Tensor, "batch dim height width"]) -> Float[Tensor, "batch dim height width"]:
        """Add the two convolutions' answer to the input."""
        inner = self.conv2(functional.relu(self.conv1(x), inplace=True))
        return functional.relu(inner.add_(x), inplace=True)


class ConvReLU(nn.Module):
    """A 3x3 convolution of stride 2 and a ReLU."""

    def __init__(self, *, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, out_dim, 3, stride=2, padding=1)

    @override
    def forward(self, x: Float[Tensor, "batch in_dim height width"]) -> Float[Tensor, "batch out_dim rows cols"]:
        """Halve height and width."""
        return functional.relu(self.conv(x), inplace=True)


class Block(nn.Module):
    """A pre-norm transformer block behind a depthwise 3x3 convolution over the grid."""

    def __init__(self, *, dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, mlp_dim)
        self.down = nn.Linear(mlp_dim, dim)

    @override
    def forward(self, x: Float[Tensor, "batch patches dim"], *, rows: int) -> Float[Tensor, "batch patches dim"]:
        """Mix neighbours, then all patches of an image, then channels."""
        grid = rearrange(x, "b (r c) d -> b d r c", r=rows)
        x = x + rearrange(self.local(grid), "b d r c -> b (r c) d")
        q, k, v = rearrange(self.qkv(self.norm1(x)), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(rearrange(mixed, "b h n d -> b n (h d)"))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))
