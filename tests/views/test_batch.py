"""Many images at once: the features of each are its own, in its place, and the encoder is never idle."""

from typing import Any

import pytest
import torch

from encode.tiny import TinyEncoder
from opticnerve.errors import ShapeError
from opticnerve.tiling import Tiling, tiling
from opticnerve.views import TiledEncoder, collate_views, encode_views, eye

SIZES = [(40, 90), (90, 40), (32, 32), (40, 90), (70, 200)]

SEEN: dict[str, tuple[Tiling, tuple[float, ...]]] = {
    "plain": (tiling("plain", height_px=32, width_px=32, multiple_px=8), (1,)),
    "anyres": (tiling("anyres", tile_px=32, pinpoints=[[64, 32], [32, 64], [64, 64]]), (1,)),
    "internvl": (tiling("internvl", tile_px=32, max_tiles=6), (1,)),
    "minicpm": (tiling("minicpm", scale_px=32, multiple_px=8, max_slices=4), (1,)),
    "qwen": (tiling("qwen", factor_px=16, min_pixels=256, max_pixels=4096), (1,)),
    "s2": (tiling("plain", height_px=64, width_px=64, multiple_px=8), (1, 2)),
    "s2 of tiles": (tiling("internvl", tile_px=48, max_tiles=4), (1, 1.5)),
    "dynamic_s2": (tiling("dynamic_s2", tile_px=32, scales_px=(32, 64), max_tiles=6), (1,)),
    "dynamic_s2 of s2": (tiling("dynamic_s2", tile_px=64, scales_px=(64, 128), max_tiles=4), (1, 2)),
    "dynamic_s2, first scale": (
        tiling("dynamic_s2", tile_px=32, scales_px=(32, 64), max_tiles=6, output_scale=0),
        (1,),
    ),
}


def pictures(sizes: list[tuple[int, int]]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]


def encoded(tiled: TiledEncoder, images: list[torch.Tensor], *, views_per_call: int = 4) -> torch.Tensor:
    views = collate_views([tiled.sight.views(image) for image in images])
    plans = [tiled.sight.plan(image.shape[1], image.shape[2]) for image in images]
    encoder = eye(tiled.encoder, tiled.sight, views_per_call=views_per_call)
    return encode_views(encoder, views, plans, views_per_call=views_per_call)


@pytest.mark.parametrize("name", SEEN)
def test_many_images_have_the_features_that_each_has_alone(name: str) -> None:
    own_tiling, scales = SEEN[name]
    tiled = TiledEncoder(TinyEncoder(), own_tiling, scales=scales)
    images = pictures(SIZES)
    alone = [tiled.encode(image) for image in images]
    wanted = torch.cat([batch.flatten(0, 1) for features in alone for batch in features.batches])
    given = encoded(tiled, images)
    assert given.shape[1] == tiled.dim
    assert len(given) == sum(grid.size for image in alone for grid in tiled.sight.grids(image.plan))
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-6)


def test_tiles_of_all_images_fill_the_batches_of_their_size() -> None:
    encoder = TinyEncoder()
    tiled = TiledEncoder(encoder, SEEN["internvl"][0])
    images = pictures(SIZES)
    total = sum(tiled.sight.plan(*size).num_tiles for size in SIZES)
    encoded(tiled, images, views_per_call=5)
    assert encoder.batch_sizes == [5] * (total // 5) + [total % 5] * (total % 5 > 0)


def test_tiles_of_other_sizes_are_dealt_out_to_their_images_again() -> None:
    encoder = TinyEncoder()
    tiled = TiledEncoder(encoder, SEEN["minicpm"][0])
    views = collate_views([tiled.sight.views(image) for image in pictures(SIZES)])
    assert len(views) > 2
    assert len({tuple(tiles.shape[-2:]) for tiles in views}) == len(views)
    encoded(tiled, pictures(SIZES), views_per_call=100)
    assert encoder.batch_sizes == [len(tiles) for tiles in views]


@pytest.mark.parametrize("name", SEEN)
def test_gradients_reach_an_encoder_that_is_open_and_only_where_wanted(name: str) -> None:
    own_tiling, scales = SEEN[name]
    encoder = TinyEncoder()
    tiled = TiledEncoder(encoder, own_tiling, scales=scales)
    encoded(tiled, pictures(SIZES)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())
    encoder.requires_grad_(False)
    assert not encoded(tiled, pictures(SIZES)).requires_grad
    assert not any(batch.requires_grad for batch in tiled.encode(pictures(SIZES)[0]).batches)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda views: views[:-1],
            r"2 images of these sizes become tiles of shape \[\(3, 3, 32, 32\)\], got \[\]: pass wh",
        ),
        (lambda views: [views[0][:-1]], r"become tiles of shape \[\(3, 3, 32, 32\)\], got \[\(2, 3, 32, 32\)\]"),
        (lambda views: [views[0][..., :-1]], r"got \[\(3, 3, 32, 31\)\]"),
    ],
)
def test_tiles_that_are_not_those_of_the_images_are_refused(change: Any, message: str) -> None:
    tiled = TiledEncoder(TinyEncoder(), tiling("internvl", tile_px=32, max_tiles=1))
    own = tiling("internvl", tile_px=32, max_tiles=1)
    images = pictures([(32, 32), (32, 32), (32, 32)])
    views = collate_views([tiled.sight.views(image) for image in images])
    plans = [own.plan(32, 32)] * 3
    with pytest.raises(ShapeError, match=message.replace("2 images", "3 images")):
        encode_views(tiled.encoder, change(views), plans, views_per_call=4)
    with pytest.raises(ShapeError, match=r"0 images of these sizes become tiles of shape \[\], got"):
        encode_views(tiled.encoder, [], [], views_per_call=4)
