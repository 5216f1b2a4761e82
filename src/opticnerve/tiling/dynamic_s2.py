"""NVILA dynamic S2: the image at several scales, squares first, the last in the image's own shape."""

from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from opticnerve.errors import SpecError
from opticnerve.tiling.canvas import stretched
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.ratio import nearest_grid
from opticnerve.tiling.spec import Tiling, is_whole, require_image, require_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicS2Tiling(Tiling):
    """One square canvas for each scale but the last, which has the tile grid nearest to the image's shape.

    No thumbnail: the first scale is one. The features of all scales are resized to `output_scale` and concatenated
    on channels, so only that scale's tiles become tokens. Keeps fine detail and overview in each token. Loses shape:
    every canvas is stretched.

    Source: NVlabs/VILA, `llava/mm_utils.py`, `dynamic_s2_preprocess`; NVILA's scales are 448, 896, 1344 with
    `s2_resize_output_to_scale_idx` -1. What differs: nothing.

    Raises:
        SpecError: an option cannot be.
    """

    name: ClassVar[str] = "dynamic_s2"

    tile_px: int = 448
    """Side of a tile, in pixels."""
    scales_px: tuple[int, ...] = (448, 896, 1344)
    """Scales, smallest first; only whole ratios to the first count: 1344 is 3 x 3 tiles."""
    max_tiles: int = 12
    """Most tiles of the last scale. Its fewest are (last / first) squared; below that no grid is left to choose
    from, and the last scale is one tile, as published."""
    output_scale: int = -1
    """The scale whose tiles become tokens, counted from 0, or from the end if negative."""

    def __post_init__(self) -> None:
        require_whole(self.name, tile_px=self.tile_px, max_tiles=self.max_tiles)
        are_whole = bool(self.scales_px) and all(map(is_whole, self.scales_px))
        if not are_whole or list(self.scales_px) != sorted(self.scales_px) or self.scales_px[0] < 1:
            raise SpecError(f'tiling "{self.name}" needs scales_px in px, smallest first, got {self.scales_px!r}')
        if not -len(self.scales_px) <= self.output_scale < len(self.scales_px):
            raise SpecError(
                f'tiling "{self.name}" has {len(self.scales_px)} scales, so output_scale must be '
                f"{-len(self.scales_px)} to {len(self.scales_px) - 1}, got {self.output_scale}"
            )

    @property
    def sides(self) -> tuple[int, ...]:
        """Tiles along each side of the square scales; the last one's square is the fewest tiles of the last scale."""
        return tuple(scale // self.scales_px[0] for scale in self.scales_px)

    @property
    @override
    def most_tiles(self) -> int:
        """Most tiles that any image gets, over all scales."""
        return sum(side * side for side in self.sides[:-1]) + self.max_tiles

    @override
    def plan(self, height_px: int, width_px: int) -> TilePlan:
        """Say what becomes of an image; see `Tiling.plan`."""
        require_image(height_px, width_px)
        *squares, last = self.sides
        rows, cols = nearest_grid(
            height_px, width_px, min_tiles=last * last, max_tiles=self.max_tiles, tile_px=self.tile_px
        )
        shapes = [*((side, side) for side in squares), (rows, cols)]
        canvases = tuple(
            stretched(rows * self.tile_px, cols * self.tile_px, rows=rows, cols=cols, scale=scale)
            for scale, (rows, cols) in enumerate(shapes)
        )
        return TilePlan(
            image_height_px=height_px,
            image_width_px=width_px,
            canvases=canvases,
            output_scale=self.output_scale % len(self.scales_px),
        )

    @override
    def smaller(self, plan: TilePlan) -> TilePlan | None:
        """Return the plan with fewer tiles in the last scale, or None at its fewest; see `Tiling.smaller`."""
        most = plan.canvases[-1].num_tiles - 1
        if most < self.sides[-1] ** 2:
            return None
        return replace(self, max_tiles=most).plan(plan.image_height_px, plan.image_width_px)
