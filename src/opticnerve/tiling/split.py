"""Cut a batch of images into rows x cols tiles, tile after tile, and the inverse."""

from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor

from opticnerve.errors import ShapeError


def split(
    images: Shaped[Tensor, "batch channels height width"], *, rows: int, cols: int
) -> Shaped[Tensor, "tiles channels tile_height tile_width"]:
    """Cut images, or maps of features, into equal tiles.

    Args:
        images: pixels or features of images of one size.
        rows: tiles from top to bottom.
        cols: tiles from left to right.

    Returns:
        Tiles, (rows cols batch): the first tile of every image, then the second, row by row.

    Raises:
        ShapeError: the tiles do not fill the images.

    Source: bfshi/scaling_on_scales, `split_chessboard`.
    """
    height, width = images.shape[-2:]
    if min(rows, cols) < 1 or height % rows or width % cols:
        raise ShapeError(
            f"cannot cut {height} x {width} into {rows} x {cols} tiles: resize to multiples of {rows} and {cols}"
        )
    return rearrange(images, "b c (rows h) (cols w) -> (rows cols b) c h w", rows=rows, cols=cols)


def stitch(
    tiles: Shaped[Tensor, "tiles channels tile_height tile_width"], *, rows: int, cols: int
) -> Shaped[Tensor, "batch channels height width"]:
    """Put the tiles of `split` together again.

    Args:
        tiles: tiles, (rows cols batch).
        rows: tiles from top to bottom.
        cols: tiles from left to right.

    Returns:
        The images, or maps of features.

    Raises:
        ShapeError: the count of tiles is not a multiple of rows x cols.
    """
    if min(rows, cols) < 1 or tiles.shape[0] % (rows * cols):
        raise ShapeError(
            f"cannot stitch {tiles.shape[0]} tiles into images of {rows} x {cols}: give all tiles of every image"
        )
    return rearrange(tiles, "(rows cols b) c h w -> b c (rows h) (cols w)", rows=rows, cols=cols)
