"""Dynamic S2 (NVILA), the feature side: the tiles of all scales become one map, which is projected tile by tile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from opticnerve.errors import ShapeError, SpecError
from opticnerve.grid import Grid
from opticnerve.multiscale.maps import (
    check_scale,
    from_map,
    join_scales,
    pool_tiles,
    pooling_factors,
    stitch_map,
    to_map,
)
from opticnerve.tiling import split

TileGrids = tuple[tuple[int, int], ...]
"""Rows and columns of tiles of an image, scale by scale. An image that is not cut has one tile: ((1, 1),)."""
Projector = Callable[[Tensor], Tensor]
"""(tiles, patches, dims) -> (tiles, tokens, llm_dim)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DynamicS2:
    """Joins the scales of each image on the channels, at the grid of one scale; images keep their own shapes.

    Keeps: fine detail and overview in every token. Loses: the mean over areas hides where in a coarse patch a fine
    detail was, where a fine map is brought to a coarser one; attention does not cross the borders of tiles.

    Source: Liu et al., "NVILA: Efficient Frontier Visual Language Models", 2024, section 2.1; NVlabs/VILA,
    `llava_arch.py`: `merge_features_for_dynamic_s2` and `encode_images`. What differs: nothing.

    Example: tiles ((1, 1), (2, 2), (3, 4)) of 32 x 32 patches, resize_to=-1: 17 tiles -> 96 x 128 patches of three
    times the channels, projected as 12 tiles.

    Raises:
        SpecError: an option cannot be.
    """

    num_scales: int = 3
    """Scales of an image that is cut; the features of one that is not are repeated so often."""
    resize_to: int = -1
    """The scale whose grid the result has; negative counts from the last (`s2_resize_output_to_scale_idx`)."""

    def __post_init__(self) -> None:
        if self.num_scales < 1:
            raise SpecError(f"dynamic S2 needs num_scales of at least 1, got {self.num_scales}")
        check_scale(self.resize_to, num_scales=self.num_scales, what="dynamic S2")

    def num_tiles(self, tiles: TileGrids) -> int:
        """Count the tiles of one image, each of them one run of the encoder.

        Args:
            tiles: of each scale.
        """
        self._check(tiles)
        return sum(rows * cols for rows, cols in tiles)

    def out_tiles(self, tiles: TileGrids) -> tuple[int, int]:
        """Tell the rows and columns of tiles that the joined map is projected in.

        Args:
            tiles: of each scale.
        """
        self._check(tiles)
        index = self.resize_to if len(tiles) > 1 else 0
        return tiles[index]

    def out_grid(self, tiles: TileGrids, *, tile: Grid) -> Grid:
        """Tell where the features, or the tokens, of one image lie.

        Args:
            tiles: of each scale.
            tile: grid of one tile, before or after the projector.
        """
        rows, cols = self.out_tiles(tiles)
        return Grid(rows * tile.rows, cols * tile.cols)

    def out_dim(self, dim: int) -> int:
        """Multiply the encoder's channels by the number of scales.

        Args:
            dim: channels of the encoder.
        """
        return dim * self.num_scales

    def merge(
        self, features: Float[Tensor, "tiles patches dim"], *, images: Sequence[TileGrids], tile: Grid
    ) -> list[Float[Tensor, "1 dims rows cols"]]:
        """Join the scales of each image.

        Args:
            features: of all tiles: image after image, within it scale after scale, within it row by row.
            images: rows and columns of tiles of each image.
            tile: grid of one tile, without prefix tokens.

        Returns:
            One map for each image, on its `out_grid`.

        Raises:
            ShapeError: the tiles are not those that `images` names.
        """
        counts = [self.num_tiles(tiles) for tiles in images]
        if features.shape[0] != sum(counts):
            raise ShapeError(
                f"{len(images)} images of {', '.join(map(str, counts))} tiles have {sum(counts)} tiles, got features "
                f"of {features.shape[0]}: pass the tiles of all images and scales, one after another"
            )
        tile = tile.spatial("dynamic S2")
        own = torch.split(features, counts)
        return [self._merge_one(each, tile, tiles) for each, tiles in zip(own, images, strict=True)]

    def project(
        self, maps: Sequence[Tensor], projector: Projector, *, images: Sequence[TileGrids], tile: Grid
    ) -> list[Float[Tensor, "tokens llm_dim"]]:
        """Project the joined maps tile by tile, all images in one call, and put each image together again.

        Args:
            maps: what `merge` returns.
            projector: for one tile.
            images: rows and columns of tiles of each image.
            tile: grid of one projected tile.

        Returns:
            Visual tokens of each image, row by row over the whole image.

        Raises:
            ShapeError: the projector returns another number of tokens than `tile` says.
        """
        shapes = [self.out_tiles(tiles) for tiles in images]
        batches = [split(whole, rows=rows, cols=cols) for whole, (rows, cols) in zip(maps, shapes, strict=True)]
        tokens = projector(torch.cat([from_map(batch) for batch in batches]))
        return [from_map(whole)[0] for whole in _stitch_all(tokens, tile.spatial("dynamic S2"), shapes)]

    def _merge_one(self, features: Tensor, tile: Grid, tiles: TileGrids) -> Tensor:
        if len(tiles) == 1:
            return repeat(to_map(features, tile), "1 d r k -> 1 (scale d) r k", scale=self.num_scales)
        out = self.out_grid(tiles, tile=tile)
        parts = torch.split(features, [rows * cols for rows, cols in tiles])
        maps: list[Tensor] = []
        for own, (rows, cols) in zip(parts, tiles, strict=True):
            down, right = pooling_factors(tile, rows=rows, cols=cols, out_rows=out.rows, out_cols=out.cols)
            small = Grid(tile.rows // down, tile.cols // right)
            maps.append(stitch_map(pool_tiles(own, tile, down=down, right=right), small, rows=rows, cols=cols))
        return join_scales(maps, resize_to=self.resize_to)

    def _check(self, tiles: TileGrids) -> None:
        are_whole = all(rows >= 1 and cols >= 1 for rows, cols in tiles)
        if not are_whole or (len(tiles) != self.num_scales and tiles != ((1, 1),)):
            raise ShapeError(
                f"dynamic S2 needs the rows and columns of tiles of each of its {self.num_scales} scales, or ((1, 1),) "
                f"for an image that is not cut, got {tiles}"
            )


def _stitch_all(features: Tensor, tile: Grid, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    parts = torch.split(features, [rows * cols for rows, cols in shapes])
    return [stitch_map(own, tile, rows=rows, cols=cols) for own, (rows, cols) in zip(parts, shapes, strict=True)]


def dynamic_tile_grids(scales_px: Sequence[int], *, rows: int, cols: int) -> TileGrids:
    """List the tiles of an image scale by scale: squares of scale / first scale, and the last one's own shape.

    >>> dynamic_tile_grids((448, 896, 1344), rows=3, cols=4)
    ((1, 1), (2, 2), (3, 4))

    Args:
        scales_px: sides of the scales, smallest first.
        rows: tiles of the last scale from top to bottom.
        cols: tiles of the last scale from left to right.

    Source: NVlabs/VILA, `merge_features_for_dynamic_s2`.
    """
    squares = [scale // scales_px[0] for scale in scales_px[:-1]]
    return (*((side, side) for side in squares), (rows, cols))
