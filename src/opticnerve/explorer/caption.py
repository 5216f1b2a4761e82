"""The bar below the picture: the method, its numbers, and what the lines mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opticnerve.explorer.ink import BLACK, DIM, ORANGE, SKY, WHITE, Ink, text_width
from opticnerve.grid import Grid, Places

CAPTION_PX = 170
"""Height of the bar."""
_MARGIN_PX = 24
_SWATCH_PX = 22
_LONGEST_NAME = 48


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """What the bar says."""

    method: str
    """Name of the connector."""
    source: str
    """Name of the image."""
    num_features: int
    """Features that reach the connector, over all tiles."""
    num_tokens: int
    """Visual tokens of the image."""
    details: Sequence[str] = ()
    """Short remarks: tiling, encoder, scales."""


def paint_caption(
    ink: Ink,
    caption: Caption,
    *,
    tiles: str,
    size_px: tuple[int, int],
    grid: Grid,
    place: Places,
    at: tuple[int, int],
    width: int,
) -> None:
    """Write the bar.

    Args:
        ink: what to write on.
        caption: the words and numbers.
        tiles: the tiles in words.
        size_px: height and width of the image.
        grid: patches of one tile.
        place: visual tokens of one tile.
        at: top and left of the bar, in pixels.
        width: of the bar, in pixels.
    """
    top, left = at[0], at[1] + _MARGIN_PX
    room = width - 2 * _MARGIN_PX
    source = f"{_shortened(caption.source)} · {size_px[0]} x {size_px[1]} px"
    ink.text((left, top + 16), caption.method, size=30)
    spare = room - text_width(caption.method, 30) - 30
    size = min(18.0, 18 * spare / text_width(source, 18))
    ink.text((left + room, top + 24), source, size=size, color=DIM, anchor="ra")
    _paint_flow(ink, caption, tiles=tiles, at=(top + 62, left), room=room)
    _paint_legend(ink, grid, place, at=(top + 106, left), room=room)
    details = " · ".join(caption.details)
    ink.text((left, top + 140), details, size=min(16.0, 16 * room / max(1.0, text_width(details, 16))), color=DIM)


def _paint_flow(ink: Ink, caption: Caption, *, tiles: str, at: tuple[float, float], room: float) -> None:
    """Write tiles, features and tokens with arrows between, and the ratio."""
    ratio = caption.num_features / caption.num_tokens
    parts = (tiles, f"{caption.num_features:,} features", f"{caption.num_tokens:,} visual tokens")
    tail = f"{ratio:.3g} : 1"
    wish = sum(text_width(part, 26) for part in (*parts, tail)) + 26 * 8
    size = min(26.0, 26 * room / wish)
    top, x = at
    for index, part in enumerate(parts):
        if index:
            ink.arrow((x, top + 0.55 * size), length=1.4 * size, color=DIM)
            x += 2 * size
        ink.text((x, top), part, size=size, color=SKY if index == 2 else WHITE)
        x += text_width(part, size) + 0.6 * size
    ink.text((x + 1.4 * size, top), tail, size=size, color=DIM)


def _paint_legend(ink: Ink, grid: Grid, place: Places, *, at: tuple[float, float], room: float) -> None:
    """Say what the lines mean."""
    entries: list[tuple[Callable[[Ink, float, float], None], str]] = [(_tile_swatch, "tile")]
    entries.append((_patch_swatch, "patch: one feature"))
    if isinstance(place, Grid):
        entries.append((_token_swatch, f"visual token: {_patches_of_token(grid, place)}"))
    else:
        entries.append((_query_swatch, f"{place.num} learned queries see the whole of each tile"))
    wish = sum(text_width(words, 18) + _SWATCH_PX + 36 for _, words in entries)
    size = min(18.0, 18 * room / wish)
    top, x = at
    for swatch, words in entries:
        swatch(ink, x, top)
        ink.text((x + _SWATCH_PX + 8, top + _SWATCH_PX / 2), words, size=size, anchor="lm")
        x += _SWATCH_PX + 36 + text_width(words, size)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 14]}…{name[-13:]}"


def _patches_of_token(grid: Grid, place: Grid) -> str:
    down, right = grid.rows / place.rows, grid.cols / place.cols
    if down == right == 1:
        return "one patch"
    if down % 1 or right % 1:
        return f"about {down:.2g} x {right:.2g} patches"
    return f"{down:.0f} x {right:.0f} patches"


def _tile_swatch(ink: Ink, x: float, y: float) -> None:
    ink.frame((x, y, x + _SWATCH_PX, y + _SWATCH_PX), color=ORANGE, width=3)


def _patch_swatch(ink: Ink, x: float, y: float) -> None:
    _lines(ink, x, y, color=WHITE, width=0.7)


def _token_swatch(ink: Ink, x: float, y: float) -> None:
    half = _SWATCH_PX / 2
    ink.box((x, y, x + half, y + half), fill=WHITE, alpha=60)
    ink.box((x + half, y + half, x + _SWATCH_PX, y + _SWATCH_PX), fill=WHITE, alpha=60)
    _lines(ink, x, y, color=SKY, width=1.5)


def _query_swatch(ink: Ink, x: float, y: float) -> None:
    ink.box((x, y, x + _SWATCH_PX, y + _SWATCH_PX), fill=SKY, radius=_SWATCH_PX / 2)
    ink.text((x + _SWATCH_PX / 2, y + _SWATCH_PX / 2), "q", size=16, color=BLACK, anchor="mm")


def _lines(ink: Ink, x: float, y: float, *, color: tuple[int, int, int], width: float) -> None:
    for step in (0, _SWATCH_PX / 2, _SWATCH_PX):
        ink.line((x + step, y), (x + step, y + _SWATCH_PX), color=color, width=width)
        ink.line((x, y + step), (x + _SWATCH_PX, y + step), color=color, width=width)
