"""How families see images whose way of cutting is none of `opticnerve.tiling`: Idefics3 and SmolVLM, Pixtral."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

from typing_extensions import override

from opticnerve.errors import ImageError
from opticnerve.tiling import TILINGS, TilePlan, Tiling
from opticnerve.tiling.canvas import stretched
from opticnerve.tiling.spec import require_image, require_whole

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PixtralTiling(Tiling):
    """One view of the image's own size, with a limit on its longer side.

    Keeps shape and size. Loses nothing but rounding up to whole patches.

    Source: transformers, `models/pixtral/image_processing_pixtral.py`, `get_resize_output_image_size`. What differs: an
    image so long that nothing is left of its short side is refused here, and makes no tokens there.

    Raises:
        SpecError: an option cannot be.
    """

    name: ClassVar[str] = "pixtral"

    longest_px: int = 1024
    """Longest side, in pixels; larger images are reduced."""
    factor_px: int = 16
    """Sides are multiples of this: patch side times the merge factor, in pixels."""

    def __post_init__(self) -> None:
        require_whole(self.name, longest_px=self.longest_px, factor_px=self.factor_px)

    @property
    @override
    def most_tiles(self) -> int:
        """One: the whole image."""
        return 1

    @override
    def plan(self, height_px: int, width_px: int) -> TilePlan:
        """Say what becomes of an image; see `Tiling.plan`."""
        require_image(height_px, width_px)
        ratio = max(height_px / self.longest_px, width_px / self.longest_px)
        height, width = (int(side / ratio) if ratio > 1 else side for side in (height_px, width_px))
        if min(height, width) < 1:
            raise ImageError(
                f"an image of {height_px} x {width_px} px, reduced to {self.longest_px} px a side, has no pixel left "
                f"across: crop it, or leave it out"
            )
        canvas = stretched(_up(height, self.factor_px), _up(width, self.factor_px))
        return TilePlan(image_height_px=height_px, image_width_px=width_px, canvases=(canvas,))

    @override
    def smaller(self, plan: TilePlan) -> TilePlan | None:
        """Return the plan for a longest side of one step less, or None; see `Tiling.smaller`."""
        longest = max(plan.canvases[0].height_px, plan.canvases[0].width_px) - self.factor_px
        if longest < self.factor_px:
            return None
        return replace(self, longest_px=longest).plan(plan.image_height_px, plan.image_width_px)


def _even(side: int) -> int:
    return side + side % 2


def _up(side: int, step: int) -> int:
    return math.ceil(side / step) * step


KNOWN_TILINGS: Mapping[str, type[Tiling]] = MappingProxyType(
    {**TILINGS, "idefics3": Idefics3Tiling, "pixtral": PixtralTiling}
)
"""Tilings of the library, and those of published models that only the planner knows."""
