"""One resized copy of an image: where the image lies on it, and how it is cut into tiles."""

from dataclasses import dataclass
from typing import Literal

from opticnerve.errors import GridError
from opticnerve.grid import Grid

Role = Literal["tiles", "overview"]
"""A canvas that is cut up for its detail, or one small view of the whole image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle of whole pixels."""

    top: int
    """Pixels above it."""
    left: int
    """Pixels to the left of it."""
    height: int
    """Pixels from its top to its bottom."""
    width: int
    """Pixels from its left to its right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The image at one size, with padding around it, cut into rows x cols equal tiles.

    Raises:
        GridError: the tiles do not fill the canvas, or the image does not lie on it.
    """

    height_px: int
    """Height with padding, in pixels."""
    width_px: int
    """Width with padding, in pixels."""
    content: Box
    """Where the resized image lies; what is around it has the plan's pad colour."""
    rows: int = 1
    """Tiles from top to bottom."""
    cols: int = 1
    """Tiles from left to right."""
    role: Role = "tiles"
    """"tiles", or "overview" for a small view of the whole image."""
    scale: int = 0
    """Which of several scales (S2) this is; 0 where there is one."""
    keeps_aspect: bool = False
    """The image keeps its shape, up to the rounding of its sides; if not, it is stretched to the content box."""

    def __post_init__(self) -> None:
        box = self.content
        if min(self.rows, self.cols) < 1 or self.height_px % self.rows or self.width_px % self.cols:
            raise GridError(
                f"{self.rows} x {self.cols} tiles do not fill a canvas of {self.height_px} x {self.width_px} px: "
                f"its sides must be multiples of them"
            )
        if (
            min(box.height, box.width) < 1
            or min(box.top, box.left) < 0
            or box.top + box.height > self.height_px
            or box.left + box.width > self.width_px
        ):
            raise GridError(f"{box} does not lie on a canvas of {self.height_px} x {self.width_px} px: move or trim it")

    @property
    def num_tiles(self) -> int:
        """Tiles of this canvas."""
        return self.rows * self.cols

    @property
    def tile_px(self) -> tuple[int, int]:
        """Height and width of each tile, in pixels."""
        return self.height_px // self.rows, self.width_px // self.cols

    @property
    def tile_boxes(self) -> tuple[Box, ...]:
        """Where the tiles lie on the canvas, row by row."""
        height, width = self.tile_px
        return tuple(
            Box(top=row * height, left=col * width, height=height, width=width)
            for row in range(self.rows)
            for col in range(self.cols)
        )

    def grid(self, patch_px: int) -> Grid:
        """Return the grid of patches of one tile; pixels beyond the last whole patch are dropped, as encoders do.

        Args:
            patch_px: side of the encoder's patches, in pixels.

        Raises:
            GridError: a tile is smaller than a patch.
        """
        height, width = self.tile_px
        if patch_px < 1 or min(height, width) < patch_px:
            raise GridError(f"a tile of {height} x {width} px holds no patch of {patch_px} px: use 1 to {height} px")
        return Grid(height // patch_px, width // patch_px)


def stretched(
    height_px: int, width_px: int, *, rows: int = 1, cols: int = 1, role: Role = "tiles", scale: int = 0
) -> Canvas:
    """Return a canvas that the image is stretched to fill.

    Args:
        height_px: height of the canvas, in pixels.
        width_px: width of the canvas, in pixels.
        rows: tiles from top to bottom.
        cols: tiles from left to right.
        role: "tiles" or "overview".
        scale: which of several scales it is.
    """
    content = Box(top=0, left=0, height=height_px, width=width_px)
    return Canvas(height_px=height_px, width_px=width_px, content=content, rows=rows, cols=cols, role=role, scale=scale)
