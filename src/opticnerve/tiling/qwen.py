"""Qwen2-VL smart resize: the whole image as one view, at about its own size."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from typing_extensions import override

from opticnerve.errors import ImageError, SpecError
from opticnerve.tiling.canvas import Box, Canvas
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.spec import Tiling, require_image, require_whole

MAX_ASPECT = 200
"""Long side over short side above which the published code refuses an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenTiling(Tiling):
    """One view whose sides are multiples of `factor_px` and whose area lies between two limits.

    Keeps shape and size, so that the cost follows the image. Loses nothing but rounding. The limits are those of the
    published code and hold up to rounding: extremely long images can end a little above `max_pixels`.

    Source: transformers, `models/qwen2_vl/image_processing_qwen2_vl.py`, `smart_resize`. What differs:
    `extreme="stretch"` lets a job go on where the published code raises.

    Raises:
        SpecError: an option cannot be.
    """

    name: ClassVar[str] = "qwen"

    factor_px: int = 28
    """Sides are multiples of this: patch side times the merge factor, in pixels."""
    min_pixels: int = 56 * 56
    """Smallest area, in pixels; smaller images are enlarged."""
    max_pixels: int = 28 * 28 * 1280
    """Largest area, in pixels; larger images are reduced."""
    extreme: Literal["error", "stretch"] = "error"
    """What to do beyond an aspect ratio of 200: refuse the image, as published, or widen its short side to 1/200."""

    def __post_init__(self) -> None:
        require_whole(self.name, factor_px=self.factor_px, min_pixels=self.min_pixels, max_pixels=self.max_pixels)
        if self.min_pixels > self.max_pixels:
            raise SpecError(
                f'tiling "{self.name}" cannot make at least {self.min_pixels} and at most {self.max_pixels} pixels: '
                f"lower min_pixels or raise max_pixels"
            )
        if self.extreme not in ("error", "stretch"):
            raise SpecError(f'tiling "{self.name}" needs extreme as "error" or "stretch", got {self.extreme!r}')

    @property
    @override
    def most_tiles(self) -> int:
        """One: the whole image."""
        return 1

    @override
    def plan(self, height_px: int, width_px: int) -> TilePlan:
        """Say what becomes of an image; see `Tiling.plan`."""
        require_image(height_px, width_px)
        is_extreme = max(height_px, width_px) / min(height_px, width_px) > MAX_ASPECT
        if is_extreme and self.extreme == "error":
            raise ImageError(
                f"an image of {height_px} x {width_px} px is more than {MAX_ASPECT} times as long as it is wide, which "
                f'the model refuses: crop it, leave it out, or set extreme="stretch"'
            )
        least = -(-max(height_px, width_px) // MAX_ASPECT) if is_extreme else 1
        height, width = self._resized(max(height_px, least), max(width_px, least))
        content = Box(top=0, left=0, height=height, width=width)
        canvas = Canvas(height_px=height, width_px=width, content=content, keeps_aspect=not is_extreme)
        return TilePlan(image_height_px=height_px, image_width_px=width_px, canvases=(canvas,))

    @override
    def smaller(self, plan: TilePlan) -> TilePlan | None:
        """Return the next smaller size, or None where `min_pixels` is reached; see `Tiling.smaller`."""
        area = plan.canvases[0].height_px * plan.canvases[0].width_px
        if area - 1 < self.min_pixels:
            return None
        less = replace(self, max_pixels=area - 1).plan(plan.image_height_px, plan.image_width_px)
        return less if less.canvases[0].height_px * less.canvases[0].width_px < area else None

    def _resized(self, height_px: int, width_px: int) -> tuple[int, int]:
        factor = self.factor_px
        height, width = round(height_px / factor) * factor, round(width_px / factor) * factor
        if height * width > self.max_pixels:
            shrink = math.sqrt((height_px * width_px) / self.max_pixels)
            height = max(factor, math.floor(height_px / shrink / factor) * factor)
            width = max(factor, math.floor(width_px / shrink / factor) * factor)
        elif height * width < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height_px * width_px))
            height = math.ceil(height_px * grow / factor) * factor
            width = math.ceil(width_px * grow / factor) * factor
        return height, width
