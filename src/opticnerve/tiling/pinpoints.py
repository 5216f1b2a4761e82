"""AnyRes canvases: read a config's list of them, and choose the one that suits an image."""

import json
import math
import re
from collections.abc import Sequence

from opticnerve.errors import SpecError
from opticnerve.tiling.canvas import Box

Size = tuple[int, int]
"""Height and width, in pixels."""


def parse_pinpoints(text: str, *, tile_px: int) -> tuple[Size, ...]:
    """Read `image_grid_pinpoints` as LLaVA's configs write it, widths first.

    Args:
        text: pairs of pixels, "[[336, 672], [672, 336]]", or a range of tile counts, "(1x1),...,(6x6)".
        tile_px: side of a tile, in pixels.

    Returns:
        Heights and widths in pixels, in the order of the config: it decides exact ties.

    Raises:
        SpecError: the text is neither, or releases of LLaVA-NeXT read it differently.
    """
    pairs = [(int(cols), int(rows)) for cols, rows in re.findall(r"\(\s*(\d+)\s*x\s*(\d+)\s*\)", text)]
    if pairs:
        (first_col, first_row), (last_col, last_row) = pairs[0], pairs[-1]
        span = [(cols, rows) for cols in range(first_col, last_col + 1) for rows in range(first_row, last_row + 1)]
        if "..." not in text and pairs != span:
            raise SpecError(
                f'pinpoints "{text}" mean these grids in some releases of LLaVA-NeXT, and all grids from the first '
                f"to the last in others: write pixels, [[width, height], ...]"
            )
        return tuple((rows * tile_px, cols * tile_px) for cols, rows in span)
    try:
        return tuple((int(height), int(width)) for width, height in json.loads(text))
    except (TypeError, ValueError) as error:
        raise SpecError(
            f'cannot read pinpoints "{text}": write "[[336, 672], [672, 336]]" (width, height in px) '
            f'or "(1x1),...,(6x6)"'
        ) from error


def best_pinpoint(height_px: int, width_px: int, pinpoints: Sequence[Size]) -> Size:
    """Choose the canvas on which most of the image's pixels survive, then the one that wastes least.

    The first of equals wins. Sizes are floored through floats, as published; an image so long that it vanishes on
    every canvas takes the smallest one.

    Args:
        height_px: height of the image, in pixels.
        width_px: width of the image, in pixels.
        pinpoints: heights and widths of the canvases, in pixels; at least one.

    Returns:
        Height and width of the canvas, in pixels.

    Source: LLaVA-NeXT, `mm_utils.py`, `select_best_resolution`.
    """

    def loss(size: Size) -> tuple[int, int]:
        height, width = size
        scale = min(width / width_px, height / height_px)
        kept = min(int(width_px * scale) * int(height_px * scale), height_px * width_px)
        return -kept, height * width - kept

    return min(pinpoints, key=loss)


def centred(height_px: int, width_px: int, canvas: Size) -> Box:
    """Return where the image lies when it fills the canvas in one direction and is centred in the other.

    Args:
        height_px: height of the image, in pixels.
        width_px: width of the image, in pixels.
        canvas: height and width of the canvas, in pixels.

    Returns:
        A box of at least 1 px a side.

    Source: LLaVA-NeXT, `mm_utils.py`, `resize_and_pad_image`: the short side is rounded up, through floats.
    """
    height, width = canvas
    down, across = height / height_px, width / width_px
    if across < down:
        height = min(math.ceil(height_px * across), height)
    else:
        width = min(math.ceil(width_px * down), width)
    return Box(top=(canvas[0] - height) // 2, left=(canvas[1] - width) // 2, height=height, width=width)
