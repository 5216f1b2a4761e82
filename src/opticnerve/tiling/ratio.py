"""The grid of tiles whose shape is nearest to an image's: the search that InternVL and NVILA share."""

from functools import lru_cache


def nearest_grid(height_px: int, width_px: int, *, min_tiles: int, max_tiles: int, tile_px: int) -> tuple[int, int]:
    """Find the grid with the aspect ratio nearest to the image's.

    Where two grids are equally near, the later one wins if the image has more than half of its pixels. Ratios are
    compared as floats, as published.

    Args:
        height_px: height of the image, in pixels.
        width_px: width of the image, in pixels.
        min_tiles: fewest tiles.
        max_tiles: most tiles; with fewer than `min_tiles` no grid is left, and the answer is 1 x 1, as published.
        tile_px: side of a tile, in pixels.

    Returns:
        Tile rows, tile columns.

    Source: OpenGVLab/InternVL, `internvl_chat/internvl/train/dataset.py`, `find_closest_aspect_ratio`.
    """
    aspect = width_px / height_px
    best, least = (1, 1), float("inf")
    for rows, cols in _grids(min_tiles, max_tiles):
        distance = abs(aspect - cols / rows)
        is_tie_for_larger = distance == least and height_px * width_px > 0.5 * tile_px * tile_px * rows * cols
        if distance < least or is_tie_for_larger:
            best, least = (rows, cols), distance
    return best


@lru_cache(maxsize=64)
def _grids(min_tiles: int, max_tiles: int) -> tuple[tuple[int, int], ...]:
    """List (rows, cols) by number of tiles.

    Grids with equally many tiles stay in the order of a Python set of (cols, rows) pairs, as published. That order
    can matter only in an exact tie, and never where max_tiles is at least twice min_tiles (checked up to 40 tiles).
    """
    found = {
        (cols, rows)
        for most in range(min_tiles, max_tiles + 1)
        for cols in range(1, most + 1)
        for rows in range(1, most + 1)
        if min_tiles <= cols * rows <= max_tiles
    }
    return tuple((rows, cols) for cols, rows in sorted(found, key=lambda pair: pair[0] * pair[1]))
