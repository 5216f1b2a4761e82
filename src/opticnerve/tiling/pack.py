"""Join the visual tokens of an image's tiles into the one sequence that the language model reads."""

from collections.abc import Sequence

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from opticnerve.errors import ShapeError
from opticnerve.grid import Grid, Places
from opticnerve.tiling.canvas import Canvas
from opticnerve.tiling.plan import TilePlan


def pack(
    plan: TilePlan,
    tokens: Sequence[Float[Tensor, "_ dim"]] | Float[Tensor, "tiles tile_tokens dim"],
    places: Sequence[Places],
    *,
    newline: Float[Tensor, " dim"] | None = None,
) -> Float[Tensor, "tokens dim"]:
    """Join the tokens of one image as its plan says; as many come out as `TilePlan.num_tokens` counts.

    An overview keeps its tokens and its turn. Tiles become one map: stitched, unpadded, shrunk if it is too large,
    with `newline` at the end of each row. An image that is one tile is followed by one `newline`.

    Args:
        plan: the plan of the image.
        tokens: visual tokens of each tile, in encoder order (of the output scale, where there are several).
        places: where the tokens of each tile lie.
        newline: the learned vector that ends a row; needed if the plan's packing has it, and only then.

    Returns:
        The visual tokens of the image.

    Raises:
        GridError: the places are not those of the plan's tiles.
        ShapeError: a tile has not as many tokens as places, or `newline` is missing or too much.

    Source: LLaVA-NeXT, `llava_arch.py`, `prepare_inputs_labels_for_multimodal`.
    """
    plan.check_places(places)
    if [len(part) for part in tokens] != [place.size for place in places]:
        raise ShapeError(
            f"tiles have {[len(part) for part in tokens]} tokens, their places {[place.size for place in places]}: "
            f"pass the connector's output and its out grid for each tile"
        )
    if (newline is not None) != plan.packing.has_newline:
        need = "needs a newline vector" if newline is None else "has no newlines"
        raise ShapeError(f"the plan's packing {need}: pass newline if and only if packing.has_newline is set")
    parts = list(tokens)
    if plan.packing.merge == "flat":
        return torch.cat(parts)
    if len(parts) == 1:
        return torch.cat(parts if newline is None else [*parts, newline[None]])
    joined: list[Tensor] = []
    start = 0
    for canvas in plan.token_canvases:
        some, start = parts[start : start + canvas.num_tiles], start + canvas.num_tiles
        if canvas.role == "overview":
            joined += some if plan.packing.has_base else []
            continue
        grid = places[start - 1].spatial(f'merge="{plan.packing.merge}"')
        joined.append(_map(plan, canvas, torch.stack(some), grid, newline))
    return torch.cat(joined)


def _map(
    plan: TilePlan,
    canvas: Canvas,
    tiles: Float[Tensor, "tiles tile_tokens dim"],
    grid: Grid,
    newline: Float[Tensor, " dim"] | None,
) -> Float[Tensor, "tokens dim"]:
    whole = rearrange(
        tiles, "(rows cols) (h w) dim -> (rows h) (cols w) dim", rows=canvas.rows, cols=canvas.cols, h=grid.rows
    )
    rows, cols, _ = whole.shape
    size_px = {"height_px": plan.image_height_px, "width_px": plan.image_width_px}
    cut_rows, cut_cols = plan.packing.cut(rows, cols, **size_px)
    whole = whole[cut_rows : rows - cut_rows, cut_cols : cols - cut_cols]
    size = plan.packing.map_size(rows, cols, tile_rows=grid.rows, **size_px)
    if size != tuple(whole.shape[:2]):
        maps = rearrange(whole, "h w dim -> 1 dim h w")
        is_pooled = plan.packing.merge == "spatial_maxpool2x2"
        maps = max_pool2d(maps, 2) if is_pooled else interpolate(maps, size, mode="bilinear")
        whole = rearrange(maps, "1 dim h w -> h w dim")
    if newline is not None:
        whole = torch.cat([whole, repeat(newline.to(whole), "dim -> h 1 dim", h=whole.shape[0])], dim=1)
    return rearrange(whole, "h w dim -> (h w) dim")
