"""One canvas as a panel: the image, its tiles, patches and the cells of its visual tokens."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image

from opticnerve.explorer.cells import Lattice, patch_lattices, token_lattices
from opticnerve.explorer.ink import BLACK, ORANGE, PAPER, RGB, SKY, WHITE, Ink, text_width
from opticnerve.grid import Grid, Places
from opticnerve.tiling import Canvas, TilePlan

_LEAST_PATCH_PX = 7
_LEAST_CELL_PX = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A canvas, and where it is drawn."""

    plan: TilePlan
    """The plan that the canvas belongs to."""
    canvas: Canvas
    """What is drawn."""
    grid: Grid
    """Patches of each of its tiles."""
    place: Places | None
    """Visual tokens of each of its tiles; None where its features only add channels to another scale's (S2)."""
    first: int
    """Number of its first tile in encoder order, from 1."""
    size: tuple[int, int]
    """Height and width on the sheet, in pixels."""
    at: tuple[int, int] = (0, 0)
    """Top and left on the sheet, in pixels."""

    @property
    def tokens_in_words(self) -> str:
        """Visual tokens of each of its tiles; empty where there are none."""
        if self.place is None:
            return ""
        return f"{self.place.size} {'tokens' if isinstance(self.place, Grid) else 'queries'}"

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the sheet for each pixel of the canvas, down and right."""
        return self.size[0] / self.canvas.height_px, self.size[1] / self.canvas.width_px


def paint_image(panel: Panel, image: Image.Image, sheet: Image.Image) -> None:
    """Put the image where its content lies on the canvas, and stripes where padding is."""
    height, width = panel.size
    top, left = panel.at
    sheet.paste(_stripes(width, height), (left, top))
    down, right = panel.scale
    box = panel.canvas.content
    content = (max(1, round(box.width * right)), max(1, round(box.height * down)))
    sheet.paste(
        image.resize(content, Image.Resampling.LANCZOS), (left + round(box.left * right), top + round(box.top * down))
    )


def paint_grids(panel: Panel, ink: Ink, *, has_badges: bool) -> None:
    """Draw patches, cells of visual tokens, and tiles; with badges, the tiles' numbers and tokens, too."""
    patches = [_Lines.of(panel, lattice) for lattice in patch_lattices(panel.canvas, panel.grid)]
    cells: list[_Lines] = []
    if isinstance(panel.place, Grid):
        lattices = token_lattices(panel.plan, panel.canvas, panel.grid, panel.place)
        cells = [_Lines.of(panel, lattice) for lattice in lattices]
    cells = [lines for lines in cells if lines.step >= _LEAST_CELL_PX]
    # Ink replaces what is below it, so that tints come first and the coarsest lines last.
    for lines in cells:
        lines.tint(ink)
    for lines in patches:
        if lines.step >= _LEAST_PATCH_PX:
            lines.draw(ink, color=WHITE, width=0.5, alpha=125, edge_alpha=80)
    for lines in cells:
        lines.draw(ink, color=SKY, width=1.8, alpha=255, edge_alpha=170)
    _paint_tiles(panel, ink, has_badges=has_badges)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lines:
    """A lattice on the sheet, in the sheet's pixels."""

    ys: tuple[float, ...]
    xs: tuple[float, ...]

    @staticmethod
    def of(panel: Panel, lattice: Lattice) -> "_Lines":
        down, right = panel.scale
        top, left = panel.at[0] + lattice.top * down, panel.at[1] + lattice.left * right
        return _Lines(
            ys=tuple(top + edge * down for edge in lattice.row_edges),
            xs=tuple(left + edge * right for edge in lattice.col_edges),
        )

    @property
    def step(self) -> float:
        """Shorter side of the first cell; 0 where nothing is left of the lattice."""
        if min(len(self.ys), len(self.xs)) < 2:
            return 0
        return min(self.ys[1] - self.ys[0], self.xs[1] - self.xs[0])

    def tint(self, ink: Ink) -> None:
        """Lighten and darken the cells in turn."""
        for row, (top, bottom) in enumerate(pairwise(self.ys)):
            for col, (left, right) in enumerate(pairwise(self.xs)):
                ink.box((left, top, right, bottom), fill=WHITE if (row + col) % 2 else BLACK, alpha=30)

    def draw(self, ink: Ink, *, color: RGB, width: float, alpha: int, edge_alpha: int) -> None:
        """Draw the lines with a dark edge on both sides."""
        ys, xs = self.ys, self.xs
        lines = [((xs[0], y), (xs[-1], y)) for y in ys] + [((x, ys[0]), (x, ys[-1])) for x in xs]
        for start, end in lines:
            ink.line(start, end, color=BLACK, width=width + 1.2, alpha=edge_alpha)
        for start, end in lines:
            ink.line(start, end, color=color, width=width, alpha=alpha)


def _paint_tiles(panel: Panel, ink: Ink, *, has_badges: bool) -> None:
    down, right = panel.scale
    thick = max(2.0, min(panel.size) / 220)
    for number, box in enumerate(panel.canvas.tile_boxes, start=panel.first):
        top, left = panel.at[0] + box.top * down, panel.at[1] + box.left * right
        height, width = box.height * down, box.width * right
        ink.frame((left, top, left + width, top + height), color=ORANGE, width=thick)
        size = min(19.0, 0.3 * height, 0.3 * width)
        if has_badges and size >= 9:
            inset = thick + 0.25 * size
            ink.badge((left + inset, top + inset), _label(panel, number, size, width), size=size)


def _label(panel: Panel, number: int, size: float, width: float) -> str:
    """Number a tile, with its tokens where there is room and they are the tile's own."""
    is_map = panel.plan.packing.merge != "flat" and panel.canvas.role == "tiles"
    tokens = "" if is_map else panel.tokens_in_words
    long = f"{number} · {tokens}"
    return long if tokens and text_width(long, size) + 2 * size < width else str(number)


def _stripes(width: int, height: int) -> Image.Image:
    """Draw what stands for padding."""
    rows, cols = np.mgrid[0:height, 0:width]
    is_light = (rows + cols) % 16 < 4
    pixels = np.where(is_light[..., None], np.array([52, 58, 68]), np.array(PAPER)).astype(np.uint8)
    return Image.fromarray(pixels)
