"""The table of what is supported, made from the layouts themselves."""

from dataclasses import dataclass

from opticnerve.checkpoints.layout import Layout, Reading
from opticnerve.checkpoints.layouts import LAYOUTS
from opticnerve.connectors.words import blocks_words
from opticnerve.errors import GridError
from opticnerve.grid import Grid

_SIDES = (24, 32, 35, 16, 48, 36)
"""Grids that the arithmetic is shown on; the first that the connector takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayoutRow:
    """One layout in words."""

    layout: str
    """Its name."""
    models: str
    """Who has it."""
    home: str
    """"transformers", "original" or "opticnerve"."""
    method: str
    """What kind of connector it is."""
    blocks: str
    """Its blocks, in a published model."""
    tokens: str
    """Features and the visual tokens that come of them."""
    tested: str
    """How."""


def layout_rows() -> list[LayoutRow]:
    """Describe every layout, with the connector of one published model each."""
    return [_row(layout) for layout in LAYOUTS.values()]


def _row(layout: Layout) -> LayoutRow:
    is_any = layout.home == "opticnerve"
    reading = layout.published()
    return LayoutRow(
        layout=layout.name,
        models=layout.title,
        home=layout.home,
        method=layout.method,
        blocks="any" if is_any else blocks_words(reading.spec.blocks),
        tokens="any" if is_any else _tokens(reading),
        tested=layout.tested,
    )


def _tokens(reading: Reading) -> str:
    views = reading.views
    sides = [views.tile_px // views.patch_px] if views.tile_px and views.patch_px else []
    for side in (*sides, *_SIDES):
        grid = Grid(side, side, prefix=views.num_prefix)
        try:
            return f"{grid.size} -> {reading.spec.num_tokens(grid)}"
        except GridError:
            continue
    raise GridError(f"no grid of {_SIDES} fits {reading.spec.name}")


def layout_table() -> str:
    """Return the table as Markdown, for the documentation."""
    heads = ["layout", "models", "files of", "method", "blocks", "tokens", "tested against"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in layout_rows():
        cells = (f"`{row.layout}`", row.models, row.home, row.method, row.blocks, row.tokens, row.tested)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)
