"""Pixtral's and Mistral Small 3.1's tiling: the image as it is, with a limit on its longer side."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from typing_extensions import override

from opticnerve.errors import ImageError
from opticnerve.tiling.canvas import stretched
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.spec import Tiling, require_image, require_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class PixtralTiling(Tiling):
    """One view of the image's own size, with a limit on its longer side.

    Keeps shape and size. Loses nothing but rounding up to whole patches.

    Source: transformers, `models/pixtral/image_processing_pixtral.py`, `get_resize_output_image_size`. What differs: an
    image so long that nothing is left of its short side makes no tokens there; here `extreme` says what becomes of it.

    Raises:
        SpecError: an option cannot be.
    """

    name: ClassVar[str] = "pixtral"

    longest_px: int = 1024
    """Longest side, in pixels; larger images are reduced."""
    factor_px: int = 16
    """Sides are multiples of this: patch side times the merge factor, in pixels."""
    extreme: Literal["error", "stretch"] = "error"
    """An image of whose short side nothing would be left: refused, or a pixel of it kept, which is stretched."""

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
        if min(height, width) < 1 and self.extreme == "error":
            raise ImageError(
                f"an image of {height_px} x {width_px} px, reduced to {self.longest_px} px a side, has no pixel left "
                f'across: crop it, leave it out, or set extreme="stretch"'
            )
        canvas = stretched(_up(max(height, 1), self.factor_px), _up(max(width, 1), self.factor_px))
        return TilePlan(image_height_px=height_px, image_width_px=width_px, canvases=(canvas,))

    @override
    def smaller(self, plan: TilePlan) -> TilePlan | None:
        """Return the plan for a longest side of one step less, or None; see `Tiling.smaller`."""
        longest = max(plan.canvases[0].height_px, plan.canvases[0].width_px) - self.factor_px
        if longest < self.factor_px:
            return None
        return replace(self, longest_px=longest).plan(plan.image_height_px, plan.image_width_px)


def _up(side: int, step: int) -> int:
    return math.ceil(side / step) * step
