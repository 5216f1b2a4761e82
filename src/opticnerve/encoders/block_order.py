"""Block order: Qwen's vision towers emit the patches of each merge block together; here it becomes raster order."""

from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor

from opticnerve.errors import ShapeError
from opticnerve.grid import Grid, require_multiple


def raster_from_blocks(
    features: Shaped[Tensor, "batch patches dim"], grid: Grid, *, factor: int
) -> Shaped[Tensor, "batch patches dim"]:
    """Re-order features from block by block to row by row; the inverse of `blocks_from_raster`.

    A 2 x 4 grid in blocks of 2 arrives as the left block's four patches, then the right block's:

    >>> import torch
    >>> blocks = torch.arange(8).view(1, 8, 1)
    >>> raster_from_blocks(blocks, Grid(2, 4), factor=2).flatten().tolist()
    [0, 1, 4, 5, 2, 3, 6, 7]

    Args:
        features: blocks row by row, patches row by row within each.
        grid: where they lie.
        factor: patches a side of one block.

    Returns:
        The same features, frame by frame, row by row.

    Raises:
        GridError: the factor does not divide the grid.
        ShapeError: the number of features is not the grid's.

    Source: `Qwen2VLImageProcessor._preprocess` (transformers), which orders the patches so that its merger can view
    four neighbours as one row.
    """
    _check(features, grid, factor)
    pattern = "b (frame r k row col) d -> b (frame r row k col) d"
    return rearrange(features, pattern, frame=grid.frames, r=grid.rows // factor, row=factor, col=factor)


def blocks_from_raster(
    features: Shaped[Tensor, "batch patches dim"], grid: Grid, *, factor: int
) -> Shaped[Tensor, "batch patches dim"]:
    """Re-order features from row by row to block by block; the inverse of `raster_from_blocks`.

    Args:
        features: frame by frame, row by row.
        grid: where they lie.
        factor: patches a side of one block.

    Returns:
        Blocks row by row, patches row by row within each.

    Raises:
        GridError: the factor does not divide the grid.
        ShapeError: the number of features is not the grid's.
    """
    _check(features, grid, factor)
    pattern = "b (frame r row k col) d -> b (frame r k row col) d"
    return rearrange(features, pattern, frame=grid.frames, r=grid.rows // factor, row=factor, col=factor)


def _check(features: Tensor, grid: Grid, factor: int) -> None:
    require_multiple(
        grid.spatial("block order"),
        rows=factor,
        cols=factor,
        action="cut into blocks",
        remedy="Resize the image so that its grid fits.",
    )
    if features.shape[1] != grid.num_patches:
        raise ShapeError(
            f"a {grid} grid has {grid.num_patches} patches, got {features.shape[1]} features: pass the grid of these "
            f"features"
        )
