"""Run S2 around any encoder: one that returns tokens on a known grid, or one that returns maps."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from opticnerve.errors import ShapeError
from opticnerve.grid import Grid
from opticnerve.multiscale.maps import from_map, join_scales, pool_tiles, pooling_factors, stitch_map
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
    tiles = [grid(*view.tile_px) for view in views]
    out = (
        tiles[spec.resize_to].rows * views[spec.resize_to].rows,
        tiles[spec.resize_to].cols * views[spec.resize_to].cols,
    )
    factors = [
        pooling_factors(tile, rows=view.rows, cols=view.cols, out_rows=out[0], out_cols=out[1])
        for tile, view in zip(tiles, views, strict=True)
    ]

    def pooled(index: int, features: Tensor) -> Tensor:
        tile, (down, right) = tiles[index], factors[index]
        _check_tokens(features, views[index], tile)
        patches = pool_tiles(features[:, tile.prefix :], tile, down=down, right=right)
        return torch.cat([features[:, : tile.prefix], patches], dim=1) if tile.prefix else patches

    maps: list[Tensor] = []
    prefixes: list[Tensor] = []
    outputs = _run(spec, views, model, images, then=pooled)
    for view, tile, (down, right), features in zip(views, tiles, factors, outputs, strict=True):
        small = Grid(tile.rows // down, tile.cols // right)
        maps.append(stitch_map(features[:, tile.prefix :], small, rows=view.rows, cols=view.cols))
        prefixes.append(
            rearrange(features[:, : tile.prefix], "(tile b) p d -> tile b p d", tile=view.num_tiles).mean(0)
        )
    patches = from_map(join_scales(maps, resize_to=spec.resize_to))
    return torch.cat([torch.cat(prefixes, dim=-1), patches], dim=1) if prefixes[0].shape[1] else patches


def _check_tokens(features: Tensor, view: View, tile: Grid) -> None:
    if features.ndim != 3 or features.shape[1] != tile.size:
        raise ShapeError(
            f"the encoder returned features of shape {tuple(features.shape)} for tiles of {view.tile_px[0]} x "
            f"{view.tile_px[1]} px, whose grid {tile} has {tile.size}: pass a grid function that counts its prefix "
            f"tokens, or use s2_maps for an encoder that returns maps"
        )


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
    outputs = _run(spec, views, model, images, then=_is_map)
    maps = [stitch(out, rows=view.rows, cols=view.cols) for view, out in zip(views, outputs, strict=True)]
    return join_scales(maps, resize_to=spec.resize_to)


def _is_map(index: int, features: Tensor) -> Tensor:
    del index
    if features.ndim != 4:
        raise ShapeError(
            f"s2_maps needs an encoder that returns (batch, dim, rows, cols), got {tuple(features.shape)}: use "
            f"s2_features, with the grid of its tokens"
        )
    return features


def _run(
    spec: S2, views: Sequence[View], model: Model, images: Tensor, *, then: Callable[[int, Tensor], Tensor]
) -> list[Tensor]:
    """Encode the tiles of all scales, and do with the features of a scale what comes next as soon as they are there."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for index, view in enumerate(views):
        by_size.setdefault(view.tile_px, []).append(index)
    outputs: list[list[Tensor]] = [[] for _ in views]
    for indices in by_size.values():
        tiles = [split(_resize(images, views[i]), rows=views[i].rows, cols=views[i].cols) for i in indices]
        counts = [batch.shape[0] for batch in tiles]
        most = {"all": sum(counts), "scale": max(counts)}.get(str(spec.views_per_call), spec.views_per_call)
        for parts in _calls(counts, most=int(most)):
            chunk = [tiles[which][start:end] for which, start, end in parts]
            features = _encode(model, torch.cat(chunk) if len(chunk) > 1 else chunk[0])
            sizes = [end - start for _, start, end in parts]
            for (which, _, _), own in zip(parts, torch.split(features, sizes), strict=True):
                outputs[indices[which]].append(then(indices[which], own))
    return [own[0] if len(own) == 1 else torch.cat(own) for own in outputs]


def _calls(counts: Sequence[int], *, most: int) -> list[list[tuple[int, int, int]]]:
    """Deal tiles out to as few calls as there can be, all about as large: which scale, from where, to where."""
    total, ends = sum(counts), list(accumulate(counts))
    number = -(-total // most)
    bounds = [total * call // number for call in range(number + 1)]
    calls: list[list[tuple[int, int, int]]] = []
    for start, end in pairwise(bounds):
        parts = [
            (which, max(start, last - count) - (last - count), min(end, last) - (last - count))
            for which, (count, last) in enumerate(zip(counts, ends, strict=True))
        ]
        calls.append([part for part in parts if part[1] < part[2]])
    return calls


def _encode(model: Model, tiles: Tensor) -> Tensor:
    features = model(tiles)
    if features.shape[0] != tiles.shape[0]:
        raise ShapeError(f"the encoder returned {features.shape[0]} rows of features for {tiles.shape[0]} tiles")
    return features


def _resize(images: Tensor, view: View) -> Tensor:
    if (images.shape[-2], images.shape[-1]) == (view.height_px, view.width_px):
        return images
    size = (view.height_px, view.width_px)
    return functional.interpolate(images.float(), size=size, mode="bicubic").to(images.dtype)
