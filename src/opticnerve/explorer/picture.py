"""What a method does to an image, as a picture: tiles, patches, and the cells of its visual tokens."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from opticnerve.explorer.caption import CAPTION_PX, Caption, paint_caption
from opticnerve.explorer.ink import DIM, PAPER, Ink
from opticnerve.explorer.panel import Panel, paint_grids, paint_image
from opticnerve.grid import Grid, Places
from opticnerve.tiling import TilePlan

LONGEST_PX = 1600
"""Longest side of the image in the picture; smaller images are enlarged to at least `SMALLEST_LONG_PX`."""
SMALLEST_LONG_PX = 1100
_LEAST_SHORT_PX = 140
_LEAST_WIDTH_PX = 900
_LEAST_INSET_PX = 260
_GAP_PX = 24
_HEADING_PX = 30


def draw_picture(
    image: UInt8[Tensor, "3 height width"],
    *,
    plan: TilePlan,
    grids: Sequence[Grid],
    places: Sequence[Places],
    caption: Caption,
) -> Image.Image:
    """Draw the tiles, the patches and the cells of the visual tokens over an image.

    The largest canvas fills the picture, in the image's own shape, with stripes where it is padded. Other views (a
    thumbnail, other scales) stand beside it. Learned queries have no cells: the caption says what they see.

    Args:
        image: pixels, 0 to 255.
        plan: what becomes of the image.
        grids: where the features of each tile with tokens lie, in encoder order.
        places: where the visual tokens of each of those tiles lie, rows and columns as they lie on the image.
        caption: what the bar below says.
    """
    main, *others = _panels(plan, grids, places)
    main = replace(main, size=_shape(main, SMALLEST_LONG_PX, LONGEST_PX))
    inset_px = round(max(main.size) * 0.3)
    others = [replace(other, size=_shape(other, inset_px, inset_px)) for other in others]
    main, others, (height, width) = _arranged(main, others)
    sheet = Image.new("RGB", (width, height + CAPTION_PX), PAPER)
    ink = Ink(*sheet.size)
    pixels = Image.fromarray(np.ascontiguousarray(rearrange(image, "c h w -> h w c").numpy()))
    for panel in (main, *others):
        paint_image(panel, pixels, sheet)
        paint_grids(panel, ink, has_badges=panel is main or panel.canvas.num_tiles > 1)
    for other in others:
        ink.text((other.at[1], other.at[0] - 8), _heading(other), size=17, color=DIM, anchor="ld")
    tiles, size_px = _tiles_in_words(plan), (plan.image_height_px, plan.image_width_px)
    assert main.place is not None, "the main panel is one whose tiles have tokens"
    caption = replace(caption, details=[*caption.details, *_remarks(main)])
    paint_caption(
        ink, caption, tiles=tiles, size_px=size_px, grid=main.grid, place=main.place, at=(height, 0), width=width
    )
    return ink.laid_over(sheet)


def _panels(plan: TilePlan, grids: Sequence[Grid], places: Sequence[Places]) -> list[Panel]:
    """Return a panel for each canvas; first the one with the most tiles that become tokens."""
    panels: list[Panel] = []
    first, with_tokens = 1, 0
    for canvas in plan.canvases:
        has_tokens = canvas.scale == plan.output_scale
        # Scales without tokens have tiles of the same size, and so the same patches.
        index = with_tokens if has_tokens else 0
        place = places[index] if has_tokens else None
        panels.append(Panel(plan=plan, canvas=canvas, grid=grids[index], place=place, first=first, size=(0, 0)))
        first += canvas.num_tiles
        with_tokens += canvas.num_tiles if has_tokens else 0
    main = max((panel for panel in panels if panel.place is not None), key=_weight)
    return [main, *(panel for panel in panels if panel is not main)]


def _weight(panel: Panel) -> tuple[bool, int]:
    return panel.canvas.role == "tiles", panel.canvas.num_tiles


def _shape(panel: Panel, least_px: int, most_px: int) -> tuple[int, int]:
    """Return height and width: the image's shape and what padding adds, but never a mere line."""
    canvas, plan = panel.canvas, panel.plan
    height = plan.image_height_px * canvas.height_px / canvas.content.height
    width = plan.image_width_px * canvas.width_px / canvas.content.width
    longest = max(height, width)
    long = round(min(max(longest, least_px), most_px))
    short = min(long, _LEAST_SHORT_PX)
    return max(round(height * long / longest), short), max(round(width * long / longest), short)


def _arranged(main: Panel, others: Sequence[Panel]) -> tuple[Panel, list[Panel], tuple[int, int]]:
    """Place the other views below a wide picture, or beside any other; return height and width of all, too."""
    height, width = main.size
    is_wide = width >= 1.5 * height
    top = _HEADING_PX + _GAP_PX // 2 + (height if is_wide else 0)
    left = _GAP_PX + (0 if is_wide else width)
    placed: list[Panel] = []
    for other in others:
        placed.append(replace(other, at=(top, left)))
        if is_wide:
            left += max(other.size[1], _LEAST_INSET_PX) + _GAP_PX
        else:
            top += other.size[0] + _HEADING_PX + _GAP_PX
    height = max([height, *(other.at[0] + other.size[0] + _GAP_PX for other in placed)])
    width = max([width, *(other.at[1] + max(other.size[1], _LEAST_INSET_PX) + _GAP_PX for other in placed)])
    shift = max(0, _LEAST_WIDTH_PX - width) // 2
    placed = [replace(other, at=(other.at[0], other.at[1] + shift)) for other in placed]
    return replace(main, at=(0, shift)), placed, (height, max(width, _LEAST_WIDTH_PX))


def _heading(panel: Panel) -> str:
    """Say what a smaller view is; where it is one tile, this stands for its badge."""
    canvas = panel.canvas
    number = f"{panel.first} · " if canvas.num_tiles == 1 else ""
    if panel.place is None:
        return f"{number}scale {canvas.scale + 1}: adds channels"
    name = "overview" if canvas.role == "overview" else f"{canvas.rows} x {canvas.cols} tiles"
    return f"{number}{name} · {panel.tokens_in_words}"


def _tiles_in_words(plan: TilePlan) -> str:
    """Say how many tiles there are: those with tokens, those of other scales, and the overview."""
    shapes = [(canvas.rows, canvas.cols) for canvas in plan.canvases if canvas.role == "tiles"]
    has_overview = any(canvas.role == "overview" for canvas in plan.canvases)
    sizes = " + ".join("1" if shape == (1, 1) else f"{shape[0]} x {shape[1]}" for shape in shapes)
    words = f"{sizes} tile{'s' if sizes != '1' else ''}" if sizes else ""
    return " + ".join(part for part in (words, "overview" if has_overview else "") if part)


def _remarks(main: Panel) -> list[str]:
    """Explain what is not plain to see."""
    canvas, packing = main.canvas, main.plan.packing
    is_padded = (canvas.content.height, canvas.content.width) != (canvas.height_px, canvas.width_px)
    remarks = ["stripes are padding"] if is_padded else []
    if packing.merge == "spatial_unpad" and is_padded:
        remarks.append("tokens of the padding are cut away")
    if packing.has_newline:
        remarks.append("a newline token ends each row")
    return remarks
