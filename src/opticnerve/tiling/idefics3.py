"""Idefics3's and SmolVLM's tiling: every image at one longest side, in whole tiles, and a view of it all."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from opticnerve.tiling.canvas import stretched
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.spec import Tiling, require_image, require_whole

MOST_PX = 4096
"""Longest side that Idefics3's processor makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idefics3Tiling(Tiling):
    """The image scaled to `longest_px`, stretched to whole tiles, and a view of the whole image after them.

    Keeps detail whatever the size: every image, small ones too, is brought to the same longest side. Loses a little
    shape to whole tiles.

    Source: transformers, `models/idefics3/image_processing_idefics3.py`: `resize`, `resize_for_vision_encoder` and
    `split_images`, in that order. What differs: nothing.

    Raises:
        SpecError: an option cannot be.
    """

    name: ClassVar[str] = "idefics3"

    tile_px: int = 364
    """Side of a tile and of the view of the whole image, in pixels."""
    longest_px: int = 4 * 364
    """Longest side that the image is scaled to before it is cut, in pixels."""

    def __post_init__(self) -> None:
        require_whole(self.name, tile_px=self.tile_px, longest_px=self.longest_px)

    @property
    @override
    def most_tiles(self) -> int:
        """Most tiles that any image gets, the view of the whole image included."""
        side = math.ceil(min(self.longest_px, MOST_PX) / self.tile_px)
        return side * side + (side > 1)

    @override
    def plan(self, height_px: int, width_px: int) -> TilePlan:
        """Say what becomes of an image; see `Tiling.plan`."""
        require_image(height_px, width_px)
        height, width = self._tiled(*self._scaled(height_px, width_px))
        rows, cols = height // self.tile_px, width // self.tile_px
        canvases = [stretched(height, width, rows=rows, cols=cols)]
        if rows * cols > 1:
            canvases.append(stretched(self.tile_px, self.tile_px, role="overview"))
        return TilePlan(image_height_px=height_px, image_width_px=width_px, canvases=tuple(canvases))

    @override
    def smaller(self, plan: TilePlan) -> TilePlan | None:
        """Return the plan for a longest side of one tile less, or None; see `Tiling.smaller`."""
        if plan.num_tiles == 1:
            return None
        longest = max(plan.canvases[0].height_px, plan.canvases[0].width_px) - self.tile_px
        return replace(self, longest_px=longest).plan(plan.image_height_px, plan.image_width_px)

    def _scaled(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Bring the longest side to `longest_px`, the other to an even number, and neither beyond `MOST_PX`."""
        aspect = width_px / height_px
        if width_px >= height_px:
            width, height = self.longest_px, max(_even(int(self.longest_px / aspect)), 1)
        else:
            width, height = max(_even(int(self.longest_px * aspect)), 1), self.longest_px
        if max(height, width) <= MOST_PX:
            return height, width
        aspect = width / height
        is_wide = width >= height
        return (max(int(MOST_PX / aspect), 1), MOST_PX) if is_wide else (MOST_PX, max(int(MOST_PX * aspect), 1))

    def _tiled(self, height: int, width: int) -> tuple[int, int]:
        """Round the longer side up to whole tiles, then the other one, which follows it."""
        aspect = width / height
        if width >= height:
            width = _up(width, self.tile_px)
            return _up(int(width / aspect), self.tile_px), width
        height = _up(height, self.tile_px)
        return height, _up(int(height * aspect), self.tile_px)


def _even(side: int) -> int:
    return side + side % 2


def _up(side: int, step: int) -> int:
    return math.ceil(side / step) * step
