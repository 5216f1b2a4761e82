"""Tokens as feature maps, and back."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from opticnerve.grid import Grid


def to_maps(features: Float[Tensor, "batch patches dim"], grid: Grid) -> Float[Tensor, "batch_frames dim rows cols"]:
    """Lay tokens out as feature maps, frames on the batch axis: a view in torch's channels-last format, no copy.

    Only what torch.compile trains is copied.
    """
    # einops gives a batch of one a stride that torch does not take for channels-last, and then copies all maps
    maps = features.reshape(features.shape[0] * grid.frames, grid.rows, grid.cols, features.shape[-1])
    maps = rearrange(maps, "b h w c -> b c h w")
    # inductor (torch 2.13) fails on a view of free size that is kept for the gradient: TypeError in get_stride_order
    is_kept = torch.is_grad_enabled() and torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    return maps.clone(memory_format=torch.contiguous_format) if is_kept else maps


def from_maps(maps: Float[Tensor, "batch_frames dim rows cols"], *, frames: int) -> Float[Tensor, "batch patches dim"]:
    """Read feature maps as tokens in raster order, frame after frame: the inverse of `to_maps`."""
    images, dim, rows, cols = maps.shape
    # the same on the way back: with the strides of einops, the gradient of a single map is copied, and all before it
    return rearrange(maps, "b c h w -> b h w c").reshape(images // frames, frames * rows * cols, dim)
