"""Tiles of many images through one encoder, in full batches, and their features in the order of the images."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from opticnerve.errors import ShapeError
from opticnerve.grid import Grid
from opticnerve.multiscale import DynamicS2, TileGrids, TokenEncoder
from opticnerve.tiling import TilePlan, split
from opticnerve.views.sight import num_scales

Size = tuple[int, int]
"""Height and width of a tile, in pixels."""


def collate_views(images: Sequence[Sequence[UInt8[Tensor, "_ 3 _ _"]]]) -> list[UInt8[Tensor, "_ 3 _ _"]]:
    """Gather the tiles of many images by their size.

    >>> import torch
    >>> wide, tall = torch.zeros(2, 3, 8, 16, dtype=torch.uint8), torch.zeros(1, 3, 16, 8, dtype=torch.uint8)
    >>> [tuple(tiles.shape) for tiles in collate_views([[wide], [tall, wide]])]
    [(4, 3, 8, 16), (1, 3, 16, 8)]

    Args:
        images: the tiles of each image, in encoder order, neighbours of one size in one tensor.

    Returns:
        One tensor for each distinct size, in order of first use; tiles of all images one after another.
    """
    by_size: dict[Size, list[Tensor]] = {}
    for tiles in (tiles for image in images for tiles in image):
        by_size.setdefault((tiles.shape[-2], tiles.shape[-1]), []).append(tiles)
    return [torch.cat(tiles) for tiles in by_size.values()]


def encode_views(
    eye: TokenEncoder,
    views: Sequence[UInt8[Tensor, "_ 3 _ _"]],
    plans: Sequence[TilePlan],
    *,
    views_per_call: int,
) -> Float[Tensor, "total_positions dim"]:
    """Run an encoder on the tiles of many images. Gradients flow to it where they are enabled.

    Args:
        eye: an encoder, or an encoder with S2 around it.
        views: what `collate_views` gives.
        plans: the plan of each image.
        views_per_call: most tiles that go through the encoder at once.

    Returns:
        Features of the tiles that become tokens, packed: image after image, tile after tile in encoder order, positions
        row by row. Where a plan has several scales (dynamic S2), of its output scale, with the channels of all.

    Raises:
        ShapeError: the tiles are not those of the plans.
    """
    sizes = _check_views(views, plans)
    features = {
        size: encode_tiles(eye, tiles, views_per_call=views_per_call) for size, tiles in zip(sizes, views, strict=True)
    }
    if num_scales(plans[0]) > 1:
        return _dynamic(eye, features, plans)
    if len(features) == 1:
        return next(iter(features.values())).flatten(0, 1)
    return torch.cat([part.flatten(0, 1) for parts in _by_image(features, plans) for part in parts])


def encode_tiles(
    eye: TokenEncoder, tiles: UInt8[Tensor, "tiles 3 height width"], *, views_per_call: int
) -> Float[Tensor, "tiles positions dim"]:
    """Run an encoder on tiles of one size, some at a time.

    Args:
        eye: an encoder, or an encoder with S2 around it.
        tiles: pixels, 0 to 255.
        views_per_call: most tiles that go through it at once.
    """
    parts = [eye(eye.normalise(some)) for some in torch.split(tiles, views_per_call)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def join_plan(
    features: Float[Tensor, "tiles positions dim"], plans: Sequence[TilePlan], *, grid: Grid
) -> list[Float[Tensor, "out_tiles positions dims"]]:
    """Join the scales of each image on the channels, and cut the map of the output scale into its tiles again.

    Args:
        features: of all tiles: image after image, scale after scale.
        plans: the plan of each image, all with the same number of scales (dynamic S2).
        grid: of one tile.

    Returns:
        Features of the tiles of the output scale, for each image.
    """
    scales = DynamicS2(num_scales=num_scales(plans[0]), resize_to=plans[0].output_scale)
    shapes: list[TileGrids] = [tuple((canvas.rows, canvas.cols) for canvas in plan.canvases) for plan in plans]
    joined: list[Tensor] = []
    for whole, shape in zip(scales.merge(features, images=shapes, tile=grid), shapes, strict=True):
        rows, cols = scales.out_tiles(shape)
        joined.append(rearrange(split(whole, rows=rows, cols=cols), "tiles dim h w -> tiles (h w) dim"))
    return joined


def _check_views(views: Sequence[Tensor], plans: Sequence[TilePlan]) -> list[Size]:
    needed: dict[Size, int] = {}
    for canvas in (canvas for plan in plans for canvas in plan.canvases):
        needed[canvas.tile_px] = needed.get(canvas.tile_px, 0) + canvas.num_tiles
    shapes = [(count, 3, *size) for size, count in needed.items()]
    given = [tuple(tiles.shape) for tiles in views]
    if given != shapes or not plans:
        raise ShapeError(
            f"{len(plans)} images of these sizes become tiles of shape {shapes}, got {given}: pass what the tiling "
            f"makes of each image, gathered by `collate_views` in the order of the images"
        )
    return list(needed)


def _by_image(features: Mapping[Size, Tensor], plans: Sequence[TilePlan]) -> Iterator[list[Tensor]]:
    """Deal the features of each size out to the images again, in encoder order."""
    used = dict.fromkeys(features, 0)
    for plan in plans:
        parts: list[Tensor] = []
        for batch in plan.batches:
            size, start = batch[0].tile_px, used[batch[0].tile_px]
            used[size] = start + sum(canvas.num_tiles for canvas in batch)
            parts.append(features[size][start : used[size]])
        yield parts


def _dynamic(eye: TokenEncoder, features: Mapping[Size, Tensor], plans: Sequence[TilePlan]) -> Tensor:
    (size,) = features  # all scales of dynamic S2 are cut into tiles of one size
    joined = join_plan(features[size], plans, grid=eye.grid(*size))
    return torch.cat([tiles.flatten(0, 1) for tiles in joined])
