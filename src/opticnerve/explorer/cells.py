"""Where the cells of visual tokens lie over the patches: pure geometry, nothing is drawn."""

from dataclasses import dataclass

from opticnerve.grid import Grid
from opticnerve.tiling import Box, Canvas, TilePlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Lattice:
    """Cells side by side in a rectangle of a canvas."""

    top: float
    """Upper border, in pixels of the canvas."""
    left: float
    """Left border, in pixels of the canvas."""
    row_edges: tuple[float, ...]
    """Borders of the rows below `top`, first and last included, in pixels."""
    col_edges: tuple[float, ...]
    """Borders of the columns right of `left`, first and last included, in pixels."""


def patch_lattices(canvas: Canvas, grid: Grid) -> list[Lattice]:
    """Return the patches of each tile.

    Args:
        canvas: the canvas that is cut into tiles.
        grid: patches of one tile.
    """
    return [_lattice(box, _even(box.height, grid.rows), _even(box.width, grid.cols)) for box in canvas.tile_boxes]


def token_lattices(plan: TilePlan, canvas: Canvas, grid: Grid, out: Grid) -> list[Lattice]:
    """Return the cells of visual tokens: of each tile, or of the one map that the tiles are joined to.

    Args:
        plan: the plan that the canvas belongs to; its packing may cut padding away and shrink the map.
        canvas: the canvas that is cut into tiles.
        grid: patches of one tile.
        out: visual tokens of one tile, rows and columns as they lie on the image.
    """
    if plan.packing.merge != "flat" and canvas.role == "tiles" and plan.num_tiles > 1:
        return [_map_lattice(plan, canvas, out)]
    return [
        _lattice(box, _merged(box.height, grid.rows, out.rows), _merged(box.width, grid.cols, out.cols))
        for box in canvas.tile_boxes
    ]


def _map_lattice(plan: TilePlan, canvas: Canvas, out: Grid) -> Lattice:
    rows, cols = canvas.rows * out.rows, canvas.cols * out.cols
    size_px = {"height_px": plan.image_height_px, "width_px": plan.image_width_px}
    cut_rows, cut_cols = plan.packing.cut(rows, cols, **size_px)
    map_rows, map_cols = plan.packing.map_size(rows, cols, tile_rows=out.rows, **size_px)
    top, left = canvas.height_px * cut_rows / rows, canvas.width_px * cut_cols / cols
    row_edges = _even(canvas.height_px - 2 * top, map_rows)
    col_edges = _even(canvas.width_px - 2 * left, map_cols)
    return Lattice(top=top, left=left, row_edges=row_edges, col_edges=col_edges)


def _lattice(box: Box, row_edges: tuple[float, ...], col_edges: tuple[float, ...]) -> Lattice:
    return Lattice(top=box.top, left=box.left, row_edges=row_edges, col_edges=col_edges)


def _even(length: float, count: int) -> tuple[float, ...]:
    # An extremely long image can lose all rows of its map to unpadding.
    return tuple(length * index / count for index in range(count + 1)) if count else (0.0,)


def _merged(length: float, patches: int, tokens: int) -> tuple[float, ...]:
    """Divide a side into cells of whole patches where a factor does that, with a shorter last one where it pads."""
    factor = -(-patches // tokens)
    if patches % tokens == 0 or -(-patches // factor) != tokens:
        return _even(length, tokens)
    return tuple(length * min(index * factor, patches) / patches for index in range(tokens + 1))
