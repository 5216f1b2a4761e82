"""Ink: lines, tints and labels that are legible on light and dark pictures, with smooth edges."""

from collections.abc import Sequence
from typing import Any, cast

from PIL import Image, ImageDraw, ImageFont

RGB = tuple[int, int, int]

# Okabe and Ito's colours, which people with any kind of colour vision tell apart.
ORANGE: RGB = (230, 159, 0)
SKY: RGB = (86, 180, 233)
WHITE: RGB = (255, 255, 255)
BLACK: RGB = (0, 0, 0)
PAPER: RGB = (22, 26, 33)
DIM: RGB = (150, 160, 175)

_SHARP = 2
"""Everything is drawn so many times larger, and reduced at the end."""


class Ink:
    """A transparent sheet of the size of a picture. Places and widths are in the picture's pixels.

    Args:
        width: of the picture.
        height: of the picture.
    """

    def __init__(self, width: int, height: int) -> None:
        self._sheet = Image.new("RGBA", (width * _SHARP, height * _SHARP), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._sheet)

    def laid_over(self, picture: Image.Image) -> Image.Image:
        """Return the picture with the sheet on it."""
        sheet = self._sheet.reduce(_SHARP)
        return Image.alpha_composite(picture.convert("RGBA"), sheet).convert("RGB")

    def box(self, corners: Sequence[float], *, fill: RGB | None = None, alpha: int = 255, radius: float = 0) -> None:
        """Fill a rectangle: left, top, right, bottom."""
        points = [_SHARP * value for value in corners]
        points = [points[0], points[1], max(points[0], points[2] - 1), max(points[1], points[3] - 1)]
        self._draw.rounded_rectangle(points, radius * _SHARP, fill=(*(fill or BLACK), alpha))

    def line(
        self, start: tuple[float, float], end: tuple[float, float], *, color: RGB, width: float, alpha: int = 255
    ) -> None:
        """Draw an upright or level line as a thin rectangle, so that fractions of a pixel count."""
        (x0, y0), (x1, y1) = start, end
        half = width / 2
        is_level = abs(y1 - y0) < abs(x1 - x0)
        corners = (x0, y0 - half, x1, y0 + half) if is_level else (x0 - half, y0, x0 + half, y1)
        self._draw.rectangle([round(_SHARP * value) for value in corners], fill=(*color, alpha))

    def frame(self, corners: Sequence[float], *, color: RGB, width: float) -> None:
        """Draw a rectangle's outline inside its corners, with a dark edge on both sides."""
        left, top, right, bottom = (_SHARP * value for value in corners)
        edge, line = _SHARP, round(width * _SHARP)
        for inset, thick, ink in ((0, line + 2 * edge, (*BLACK, 200)), (edge, line, (*color, 255))):
            points = [left + inset, top + inset, right - inset - 1, bottom - inset - 1]
            self._draw.rectangle(points, outline=ink, width=thick)

    def text(self, at: tuple[float, float], words: str, *, size: float, color: RGB = WHITE, anchor: str = "la") -> None:
        """Write words; `anchor` as Pillow has it."""
        place = (at[0] * _SHARP, at[1] * _SHARP)
        self._draw.text(place, words, font=font(size * _SHARP), fill=(*color, 255), anchor=anchor)

    def badge(self, at: tuple[float, float], words: str, *, size: float) -> None:
        """Write words on an orange label whose upper left corner is at `at`."""
        width = text_width(words, size) + 0.8 * size
        left, top = at
        self.box((left - 1, top - 1, left + width + 1, top + 1.4 * size + 1), alpha=200, radius=0.3 * size)
        self.box((left, top, left + width, top + 1.4 * size), fill=ORANGE, radius=0.3 * size)
        self.text((left + width / 2, top + 0.7 * size), words, size=size, color=BLACK, anchor="mm")

    def arrow(self, at: tuple[float, float], *, length: float, color: RGB = WHITE) -> None:
        """Draw an arrow to the right that begins at `at`."""
        x, y = at[0] * _SHARP, at[1] * _SHARP
        tip, head = x + length * _SHARP, length * _SHARP * 0.35
        self._draw.line([(x, y), (tip - head, y)], fill=(*color, 255), width=round(length * _SHARP * 0.09))
        self._draw.polygon([(tip, y), (tip - head, y - head * 0.7), (tip - head, y + head * 0.7)], fill=(*color, 255))


def font(size: float) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font, which every installation with FreeType has."""
    return cast("ImageFont.FreeTypeFont", cast("Any", ImageFont).load_default(size))


def text_width(words: str, size: float) -> float:
    """Measure words, in pixels."""
    return font(size).getlength(words)
