"""MiniCPM-V: a view of the whole image, then slices of about one view's area that keep its shape."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from opticnerve.tiling.canvas import Box, Canvas, Role
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.spec import Tiling, require_image, require_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniCPMTiling(Tiling):
    """The source view first; above `scale_px` squared pixels also 2 to `max_slices` equal slices, row by row.

    Keeps the shape of the image almost exactly: views and slices are not square. Loses a little shape to rounding. An
    image of up to `scale_px` squared pixels is one view, however long: 1 x 20,000 px becomes 14 x 60,004 px.

    Source: MiniCPM-V 2.0, `slice_image` in `modeling_minicpmv.py` (as carried by OpenBMB/VisRAG). MiniCPM-V 4.6 rounds
    to 56 px instead (`multiple_px=56`). What differs: nothing; text between slices is the prompt's business.

    Raises:
        SpecError: an option cannot be.
    """

    name: ClassVar[str] = "minicpm"

    max_slices: int = 9
    """Most slices, source view not counted; 1 never slices."""
    scale_px: int = 448
    """A view has about the area of a square of this side, in pixels."""
    multiple_px: int = 14
    """Sides of views are multiples of this: the side of a patch, in pixels."""

    def __post_init__(self) -> None:
        require_whole(self.name, max_slices=self.max_slices, scale_px=self.scale_px, multiple_px=self.multiple_px)

    @property
    @override
    def most_tiles(self) -> int:
        """Most tiles that any image gets, source view included."""
        return 1 + self.max_slices if self.max_slices > 1 else 1

    @override
    def plan(self, height_px: int, width_px: int) -> TilePlan:
        """Say what becomes of an image; see `Tiling.plan`."""
        require_image(height_px, width_px)
        canvases = [self._canvas(self._rescaled(float(height_px), float(width_px)), role="overview")]
        wish = min(math.ceil(height_px * width_px / (self.scale_px * self.scale_px)), self.max_slices)
        if wish > 1:
            rows, cols = self._slices(height_px, width_px, wish)
            height = _multiple(height_px, rows) / rows
            width = _multiple(width_px, cols) / cols
            canvases.append(self._canvas(self._rescaled(height, width), rows=rows, cols=cols))
        return TilePlan(image_height_px=height_px, image_width_px=width_px, canvases=tuple(canvases))

    @override
    def smaller(self, plan: TilePlan) -> TilePlan | None:
        """Return the plan with fewer slices, at last the source view alone; see `Tiling.smaller`."""
        if plan.num_tiles == 1:
            return None
        fewer = replace(self, max_slices=max(1, plan.num_tiles - 2))
        return fewer.plan(plan.image_height_px, plan.image_width_px)

    def _canvas(self, size: tuple[int, int], *, rows: int = 1, cols: int = 1, role: Role = "tiles") -> Canvas:
        height, width = size[0] * rows, size[1] * cols
        content = Box(top=0, left=0, height=height, width=width)
        return Canvas(
            height_px=height, width_px=width, content=content, rows=rows, cols=cols, role=role, keeps_aspect=True
        )

    def _rescaled(self, height: float, width: float) -> tuple[int, int]:
        """Scale to the area of one view, and round the sides: height is floored before width follows from it."""
        aspect = width / height
        rows = int(self.scale_px / math.sqrt(aspect))
        return _multiple(rows, self.multiple_px), _multiple(int(rows * aspect), self.multiple_px)

    def _slices(self, height_px: int, width_px: int, wish: int) -> tuple[int, int]:
        """Choose the grid of one slice less, as many, or one more, nearest in log aspect ratio; the first of equals."""
        aspect = math.log(width_px / height_px)
        best, least = (1, 1), math.inf
        for count in (wish - 1, wish, wish + 1):
            if count == 1 or count > self.max_slices:
                continue
            for cols in (cols for cols in range(1, count + 1) if count % cols == 0):
                distance = abs(aspect - math.log(cols / (count // cols)))
                if distance < least:
                    best, least = (count // cols, cols), distance
        return best


def _multiple(side: int, of: int) -> int:
    """Round to the nearest multiple (halves to even), and to at least one."""
    return max(round(side / of) * of, of)
