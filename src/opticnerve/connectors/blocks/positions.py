"""Positions as channels: fixed sine-cosine tables over a grid, and their resizing to another grid."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from opticnerve.errors import SpecError


def sincos_table(
    *, rows: int, cols: int, dim: int, device: torch.device | None = None
) -> Float[Tensor, "rows_cols dim"]:
    """Compute the 2-D sine-cosine table of a grid, in float32.

    The first half of the channels tells the column and the second half the row, whatever the comments in the original
    code say; within each half, sines come before cosines.

    Source: get_2d_sincos_pos_embed of MAE (He et al., 2022), as in Qwen-VL's visual.py and MiniCPM-V's resampler.py.

    Args:
        rows: rows of the grid.
        cols: columns of the grid.
        dim: channels; a multiple of 4.
        device: where to compute it.

    Raises:
        SpecError: the channels cannot be divided into sines and cosines of rows and columns.
    """
    if dim % 4:
        raise SpecError(f"2-D sine-cosine positions need a multiple of 4 channels, got {dim}")
    down = repeat(_sincos_line(rows, dim // 2, device), "h c -> h w c", w=cols)
    across = repeat(_sincos_line(cols, dim // 2, device), "w c -> h w c", h=rows)
    return rearrange(torch.cat([across, down], dim=-1), "h w c -> (h w) c")


def _sincos_line(length: int, dim: int, device: torch.device | None) -> Float[Tensor, "length dim"]:
    frequency = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float32, device=device) / (dim // 2))
    angle = torch.arange(length, dtype=torch.float32, device=device)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def add_to_frames(
    features: Float[Tensor, "batch patches dim"], table: Float[Tensor, "places dim"]
) -> Float[Tensor, "batch patches dim"]:
    """Add the same positions to every frame.

    Args:
        features: one frame after another, each as long as the table.
        table: a row of channels for each place of a frame.
    """
    frames = rearrange(features, "b (t n) c -> b t n c", n=table.shape[0])
    return rearrange(frames + table, "b t n c -> b (t n) c")


def resize_table(
    table: Float[Tensor, "positions dim"], *, rows: int, cols: int, out_rows: int, out_cols: int
) -> Float[Tensor, "out_positions dim"]:
    """Resize a table of positions to another grid, bicubic, without aligned corners or antialiasing.

    At equal sizes this is the table itself, to the last bit.

    Source: get_abs_pos of Qwen-VL (visual.py).

    Args:
        table: one row of channels for each place of the grid, in raster order.
        rows: rows of its grid.
        cols: columns of its grid.
        out_rows: rows that are wanted.
        out_cols: columns that are wanted.
    """
    if (rows, cols) == (out_rows, out_cols):
        return table
    image = rearrange(table.float(), "(h w) c -> 1 c h w", h=rows, w=cols)
    resized = F.interpolate(image, size=(out_rows, out_cols), mode="bicubic", align_corners=False)
    return rearrange(resized, "1 c h w -> (h w) c").to(table.dtype)
