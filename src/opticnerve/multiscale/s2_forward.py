"""Run S2 around any encoder: one that returns tokens on a known grid, or one that returns maps."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from opticnerve.errors import ShapeError
from opticnerve.multiscale.maps import from_map, join_scales, stitch_map
from opticnerve.multiscale.s2 import S2, GridFunction, View
from opticnerve.tiling import split, stitch

Model = Callable[[Tensor], Tensor]
"""Normalised pixels (batch, channels, height, width) -> features."""


def s2_features(
    spec: S2, model: Model, images: Float[Tensor, "batch channels height width"], *, grid: GridFunction
) -> Float[Tensor, "batch positions dims"]:
    """Encode images at several scales with an encoder that returns tokens.

    Args:
        spec: the scales.
        model: pixels -> (batch, prefix and patches, dim), patches row by row.
        images: normalised pixels, all of one size.
        grid: of a tile; its prefix says how many tokens come before the patches.

    Returns:
        Features on `spec.out_grid(...)`: prefix tokens, each the mean over the tiles of its scale, then the patches;
        the channels of all scales side by side.

    Raises:
        ShapeError: the tiles would not be equal, or the encoder returns another number of features than `grid` says.
    """
    views = spec.views(images.shape[-2], images.shape[-1])
    maps: list[Tensor] = []
    prefixes: list[Tensor] = []
    for view, features in zip(views, _run(spec, views, model, images), strict=True):
        tile = grid(*view.tile_px)
        if features.ndim != 3 or features.shape[1] != tile.size:
            raise ShapeError(
                f"the encoder returned features of shape {tuple(features.shape)} for tiles of {view.tile_px[0]} x "
                f"{view.tile_px[1]} px, whose grid {tile} has {tile.size}: pass a grid function that counts its prefix "
                f"tokens, or use s2_maps for an encoder that returns maps"
            )
        maps.append(stitch_map(features[:, tile.prefix :], tile, rows=view.rows, cols=view.cols))
        prefixes.append(
            rearrange(features[:, : tile.prefix], "(tile b) p d -> tile b p d", tile=view.num_tiles).mean(0)
        )
    patches = from_map(join_scales(maps, resize_to=spec.resize_to))
    return torch.cat([torch.cat(prefixes, dim=-1), patches], dim=1) if prefixes[0].shape[1] else patches


def s2_maps(
    spec: S2, model: Model, images: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch dims rows cols"]:
    """Encode images at several scales with an encoder that returns maps, as a convolutional network does.

    Args:
        spec: the scales.
        model: pixels -> (batch, dim, rows, cols).
        images: normalised pixels, all of one size.

    Returns:
        The map of the scale `resize_to`, the channels of all scales side by side.

    Raises:
        ShapeError: the tiles would not be equal, or the encoder does not return maps.
    """
    views = spec.views(images.shape[-2], images.shape[-1])
    outputs = _run(spec, views, model, images)
    if any(features.ndim != 4 for features in outputs):
        raise ShapeError(
            f"s2_maps needs an encoder that returns (batch, dim, rows, cols), got {tuple(outputs[0].shape)}: use "
            f"s2_features, with the grid of its tokens"
        )
    maps = [stitch(out, rows=view.rows, cols=view.cols) for view, out in zip(views, outputs, strict=True)]
    return join_scales(maps, resize_to=spec.resize_to)


def _run(spec: S2, views: Sequence[View], model: Model, images: Tensor) -> list[Tensor]:
    by_size: dict[tuple[int, int], list[int]] = {}
    for index, view in enumerate(views):
        by_size.setdefault(view.tile_px, []).append(index)
    outputs: dict[int, Tensor] = {}
    for indices in by_size.values():
        tiles = [split(_resize(images, views[i]), rows=views[i].rows, cols=views[i].cols) for i in indices]
        features = _call(model, torch.cat(tiles) if len(tiles) > 1 else tiles[0], size=spec.views_per_call)
        counts = [batch.shape[0] for batch in tiles]
        if features.shape[0] != sum(counts):
            raise ShapeError(f"the encoder returned {features.shape[0]} rows of features for {sum(counts)} tiles")
        outputs.update(zip(indices, torch.split(features, counts), strict=True))
    return [outputs[index] for index in range(len(views))]


def _call(model: Model, tiles: Tensor, *, size: int | Literal["all"]) -> Tensor:
    if size == "all" or tiles.shape[0] <= size:
        return model(tiles)
    return torch.cat([model(chunk) for chunk in torch.split(tiles, size)])


def _resize(images: Tensor, view: View) -> Tensor:
    if (images.shape[-2], images.shape[-1]) == (view.height_px, view.width_px):
        return images
    size = (view.height_px, view.width_px)
    return functional.interpolate(images.float(), size=size, mode="bicubic").to(images.dtype)
