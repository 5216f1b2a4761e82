"""How the visual tokens of an image's tiles become one sequence: counted here, in integers; done in `pack`."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from opticnerve.errors import GridError, SpecError

Merge = Literal["flat", "spatial", "spatial_unpad", "spatial_maxpool2x2"]
"""Tile after tile; one map in raster order; one map whose padding is cut away; one map of the maximum of 2 x 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How tiles are joined. The default, tile after tile, is what all but the AnyRes family do.

    Keeps every token of an overview image, unless `has_base` is off. `spatial_unpad` loses the tokens of the padding,
    and with `max_map_tiles` fine detail of large images.

    Source: LLaVA-NeXT, `llava_arch.py` (`mm_patch_merge_type`, `unpad_image`, `anyres_max_k`; its suffix "_nobase" is
    `has_base` here).

    Raises:
        SpecError: the options contradict each other.
    """

    merge: Merge = "flat"
    """Order of the tokens of the tiles."""
    has_newline: bool = False
    """One learned vector ends each row of the map, and an image that is one tile. Not for "flat"."""
    max_map_tiles: int | None = None
    """Largest map, in tiles' worth of tokens, before it shrinks (bilinear); None where the model never shrinks it."""
    has_base: bool = True
    """The overview's tokens come too; if not, the overview is seen only where it is the only view."""
    rounds_unpad: bool = False
    """Round to 7 digits before flooring, as the transformers port does and LLaVA-NeXT itself does not."""

    def __post_init__(self) -> None:
        if self.merge not in get_args(Merge):
            raise SpecError(f"merge must be one of {', '.join(map(repr, get_args(Merge)))}, got {self.merge!r}")
        if self.merge == "flat" and self.has_newline:
            raise SpecError('merge="flat" has no rows to end: set has_newline=False, or merge="spatial_unpad"')
        if self.merge == "flat" and not self.has_base:
            raise SpecError('merge="flat" keeps all tiles: set has_base=True, or merge="spatial"')
        if self.max_map_tiles is not None and self.merge != "spatial_unpad":
            raise SpecError(f'max_map_tiles shrinks an unpadded map, but merge is "{self.merge}": use "spatial_unpad"')
        if self.max_map_tiles is not None and (not isinstance(self.max_map_tiles, int) or self.max_map_tiles < 1):
            raise SpecError(
                f"max_map_tiles must be a whole number of at least 1, got {self.max_map_tiles!r}; None never shrinks"
            )

    def cut(self, rows: int, cols: int, *, height_px: int, width_px: int) -> tuple[int, int]:
        """Return how many rows to cut at top and bottom each, and columns at left and right each.

        Half of the padding is floored, so an odd difference keeps one row or column of padding.

        Args:
            rows: rows of the stitched map.
            cols: columns of the stitched map.
            height_px: height of the image before any resize.
            width_px: width of the image before any resize.

        Returns:
            Rows to cut, columns to cut; one of them is 0. A cut may leave nothing of an extremely long image.
        """
        if self.merge != "spatial_unpad":
            return 0, 0
        if width_px / height_px > cols / rows:
            return (rows - self._floor(height_px * (cols / width_px))) // 2, 0
        return 0, (cols - self._floor(width_px * (rows / height_px))) // 2

    def shrink(self, rows: int, cols: int, *, tile_rows: int) -> tuple[int, int]:
        """Return the size that the map shrinks to, or its own.

        Args:
            rows: rows of the map after unpadding.
            cols: columns of the map after unpadding.
            tile_rows: rows of tokens of one tile; a tile's worth is its square, as published.

        Returns:
            Rows, columns; at least 1 of each.

        Raises:
            GridError: the map is too small to be pooled.
        """
        if self.merge == "spatial_maxpool2x2":
            if min(rows, cols) < 2:
                raise GridError(f'a map of {rows} x {cols} tokens has no 2 x 2 to pool: use merge="spatial"')
            return rows // 2, cols // 2
        if self.max_map_tiles is None:
            return rows, cols
        times = math.sqrt(rows * cols / (self.max_map_tiles * tile_rows**2))
        if times <= 1.1:
            return rows, cols
        return max(1, int(rows // times)), max(1, int(cols // times))

    def map_size(self, rows: int, cols: int, *, tile_rows: int, height_px: int, width_px: int) -> tuple[int, int]:
        """Return rows and columns of the map after unpadding and shrinking, newlines not counted.

        Args:
            rows: rows of the stitched map.
            cols: columns of the stitched map.
            tile_rows: rows of tokens of one tile.
            height_px: height of the image before any resize.
            width_px: width of the image before any resize.
        """
        cut_rows, cut_cols = self.cut(rows, cols, height_px=height_px, width_px=width_px)
        return self.shrink(rows - 2 * cut_rows, cols - 2 * cut_cols, tile_rows=tile_rows)

    def _floor(self, value: float) -> int:
        return int(round(value, 7)) if self.rounds_unpad else int(value)
