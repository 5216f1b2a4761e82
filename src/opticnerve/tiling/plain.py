"""One view of a fixed size: what most encoders were trained on, and the baseline of every tiling."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from typing_extensions import override

from opticnerve.errors import SpecError
from opticnerve.tiling.canvas import Box, Canvas
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.spec import Tiling, require_image, require_rgb, require_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainTiling(Tiling):
    """One view, whatever the image.

    Keeps the cost constant. Loses detail of large images, and shape or area: "stretch" distorts the image, "pad"
    spends tokens on padding, "keep" gives a smaller view that fits into the fixed one.

    Source: stretching is what SigLIP, InternViT and BLIP-2 do; padding to a square is LLaVA-1.5's
    (`image_aspect_ratio="pad"`, with `pad_rgb=(122, 116, 104)`). What differs: the padding is laid after the resize,
    so its edge is rounded to whole pixels of the view.

    Raises:
        SpecError: an option cannot be.
    """

    name: ClassVar[str] = "plain"

    height_px: int = 336
    """Height of the view, in pixels: the encoder's own."""
    width_px: int = 336
    """Width of the view, in pixels: the encoder's own."""
    fit: Literal["stretch", "pad", "keep"] = "stretch"
    """Stretch the image to the view; centre it on padding; or let the view itself have the image's shape."""
    multiple_px: int = 14
    """With "keep", the sides are rounded down to multiples of this, the side of a patch, in pixels."""
    pad_rgb: tuple[int, int, int] = (0, 0, 0)
    """Colour of the padding, 0 to 255."""

    def __post_init__(self) -> None:
        require_whole(self.name, height_px=self.height_px, width_px=self.width_px, multiple_px=self.multiple_px)
        require_rgb(self.name, self.pad_rgb)
        if self.fit not in ("stretch", "pad", "keep"):
            raise SpecError(f'tiling "{self.name}" needs fit as "stretch", "pad" or "keep", got {self.fit!r}')
        if self.fit == "keep" and self.multiple_px > min(self.height_px, self.width_px):
            raise SpecError(
                f'tiling "{self.name}" cannot fit a multiple of {self.multiple_px} px into a view of '
                f"{self.height_px} x {self.width_px} px: lower multiple_px"
            )

    @property
    @override
    def most_tiles(self) -> int:
        """One: the whole image."""
        return 1

    @override
    def plan(self, height_px: int, width_px: int) -> TilePlan:
        """Say what becomes of an image; see `Tiling.plan`."""
        require_image(height_px, width_px)
        canvas_height, canvas_width = self.height_px, self.width_px
        box = Box(top=0, left=0, height=canvas_height, width=canvas_width)
        if self.fit != "stretch":
            height, width = self._inside(height_px, width_px)
            box = Box(top=(canvas_height - height) // 2, left=(canvas_width - width) // 2, height=height, width=width)
        if self.fit == "keep":
            canvas_height, canvas_width = self._whole(box.height), self._whole(box.width)
            box = Box(top=0, left=0, height=canvas_height, width=canvas_width)
        canvas = Canvas(height_px=canvas_height, width_px=canvas_width, content=box, keeps_aspect=self.fit != "stretch")
        return TilePlan(image_height_px=height_px, image_width_px=width_px, canvases=(canvas,), pad_rgb=self.pad_rgb)

    @override
    def smaller(self, plan: TilePlan) -> TilePlan | None:
        """Return None: one view is the least."""
        return None

    def _inside(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Return the largest size of the image's shape that fits the view; the shorter side to the nearest pixel."""
        if self.height_px * width_px <= self.width_px * height_px:
            width = (2 * width_px * self.height_px + height_px) // (2 * height_px)
            return self.height_px, max(1, width)
        height = (2 * height_px * self.width_px + width_px) // (2 * width_px)
        return max(1, height), self.width_px

    def _whole(self, side: int) -> int:
        return max(side // self.multiple_px, 1) * self.multiple_px
