"""Maps of features: from tokens and back, one size for all scales, scales side by side on the channels."""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from opticnerve.errors import ShapeError, SpecError
from opticnerve.grid import Grid


def to_map(features: Float[Tensor, "batch patches dim"], grid: Grid) -> Float[Tensor, "batch dim rows cols"]:
    """Lay features out on their grid.

    Args:
        features: row by row, without prefix tokens.
        grid: where they lie; its prefix is not looked at.

    Raises:
        ShapeError: the number of features is not the grid's.
    """
    _check(features, grid)
    return rearrange(features, "b (r k) d -> b d r k", r=grid.rows)


def from_map(features: Float[Tensor, "batch dim rows cols"]) -> Float[Tensor, "batch patches dim"]:
    """Read a map row by row; the inverse of `to_map`."""
    return rearrange(features, "b d r k -> b (r k) d")


def stitch_map(
    features: Float[Tensor, "tiles patches dim"], grid: Grid, *, rows: int, cols: int
) -> Float[Tensor, "batch dim map_rows map_cols"]:
    """Lay the features of tiles out on the map of their whole image.

    Equals `tiling.stitch` of `to_map`, but leaves the channels last in memory, as tokens have them: nothing is
    transposed, and pooling is four times as fast.

    Args:
        features: of the tiles (rows cols batch), patches row by row, without prefix tokens.
        grid: of one tile; its prefix is not looked at.
        rows: tiles from top to bottom.
        cols: tiles from left to right.

    Raises:
        ShapeError: the number of features is not the grid's.
    """
    _check(features, grid)
    pattern = "(row col b) (r k) d -> b (row r) (col k) d"
    return rearrange(rearrange(features, pattern, row=rows, col=cols, r=grid.rows), "b r k d -> b d r k")


def pool_tiles(
    features: Float[Tensor, "tiles patches dim"], grid: Grid, *, down: int, right: int
) -> Float[Tensor, "tiles pooled dim"]:
    """Average neighbouring patches of each tile, in float32, and cast the means back.

    Where the factors divide the tile, this before `stitch_map` equals `area_resize` after it: no area crosses a border.

    Args:
        features: patches row by row, without prefix tokens.
        grid: of one tile; the factors divide its sides.
        down: rows that become one.
        right: columns that become one.

    Raises:
        ShapeError: the number of features is not the grid's.
    """
    if (down, right) == (1, 1):
        return features
    pooled = functional.avg_pool2d(to_map(features, grid).float(), (down, right))
    return from_map(pooled).to(features.dtype)


def pooling_factors(grid: Grid, *, rows: int, cols: int, out_rows: int, out_cols: int) -> tuple[int, int]:
    """Say by how much tiles can be pooled before they are stitched, to have a map of the wanted size at once.

    >>> pooling_factors(Grid(14, 14), rows=2, cols=2, out_rows=14, out_cols=14)
    (2, 2)
    >>> pooling_factors(Grid(14, 14), rows=3, cols=3, out_rows=14, out_cols=14)  # 3 does not divide 14
    (1, 1)

    Args:
        grid: of one tile.
        rows: tiles from top to bottom.
        cols: tiles from left to right.
        out_rows: rows of the wanted map.
        out_cols: columns of the wanted map.
    """
    down, right = max(1, grid.rows * rows // out_rows), max(1, grid.cols * cols // out_cols)
    is_whole = (grid.rows * rows, grid.cols * cols) == (down * out_rows, right * out_cols)
    return (down, right) if is_whole and grid.rows % down == 0 and grid.cols % right == 0 else (1, 1)


def area_resize(features: Float[Tensor, "batch dim rows cols"], *, rows: int, cols: int) -> Tensor:
    """Resize a map by the mean over areas, in float32, and cast it back.

    A coarse map is copied to the finer one where the ratio is whole; elsewhere overlapping areas are averaged.

    Args:
        features: the map.
        rows: rows of the result.
        cols: columns of the result.

    Returns:
        (batch, dim, rows, cols).

    Source: `F.interpolate(mode="area")` in bfshi/scaling_on_scales, `s2wrapper/core.py`. Whole ratios take the pooling
    or the copying that they come down to, which keep the memory layout and are faster.
    """
    height, width = features.shape[-2:]
    if (height, width) == (rows, cols):
        return features
    if height % rows == 0 and width % cols == 0:
        resized = functional.avg_pool2d(features.float(), (height // rows, width // cols))
    elif rows % height == 0 and cols % width == 0:
        resized = functional.interpolate(features.float(), size=(rows, cols), mode="nearest")
    else:
        resized = functional.interpolate(features.float(), size=(rows, cols), mode="area")
    return resized.to(features.dtype)


def _check(features: Tensor, grid: Grid) -> None:
    if features.shape[1] != grid.num_patches or grid.frames > 1:
        raise ShapeError(
            f"{features.shape[1]} features do not lie on a {grid.without_prefix} grid of {grid.num_patches} patches of "
            f"one image: pass the grid that the encoder names for the size of its tiles"
        )


def join_scales(maps: Sequence[Tensor], *, resize_to: int) -> Tensor:
    """Bring the maps of all scales to the size of one of them and join them on the channels, in order.

    Args:
        maps: (batch, dim, rows, cols) of each scale.
        resize_to: which scale's size to take; negative counts from the last.

    Returns:
        (batch, dim * scales, rows, cols).
    """
    rows, cols = maps[resize_to].shape[-2:]
    return torch.cat([area_resize(features, rows=rows, cols=cols) for features in maps], dim=1)


def check_scale(index: int, *, num_scales: int, what: str) -> None:
    """Refuse the index of a scale that does not exist.

    Args:
        index: the scale; negative counts from the last.
        num_scales: how many there are.
        what: the specification, as it stands in the message.

    Raises:
        SpecError: there is no such scale.
    """
    if not -num_scales <= index < num_scales:
        raise SpecError(
            f"{what} has {num_scales} scales, so resize_to must be {-num_scales} to {num_scales - 1}, got {index}"
        )
