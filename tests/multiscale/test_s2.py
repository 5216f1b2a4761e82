"""S2: what is known before it runs, oblong images, and what it refuses."""

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from opticnerve.errors import ShapeError, SpecError
from opticnerve.grid import Grid
from opticnerve.multiscale import S2, View, s2_features, s2_maps

PATCH = 4


def grid(height_px: int, width_px: int) -> Grid:
    return Grid(height_px // PATCH, width_px // PATCH)


def means(pixels: Tensor) -> Tensor:
    """Stand in for an encoder: the mean colour of each patch, as tokens."""
    return functional.avg_pool2d(pixels, PATCH).flatten(2).mT


def random_images(height: int, width: int, *, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_llava_s2_is_one_four_and_nine_tiles_of_336_pixels() -> None:
    spec = S2(scales=(336, 672, 1008), unit="px", max_tile_px=336)
    views = spec.views(1008, 1008)
    assert [(view.num_tiles, view.tile_px) for view in views] == [(1, (336, 336)), (4, (336, 336)), (9, (336, 336))]
    assert spec.num_views(1008, 1008) == 14
    assert spec.out_dim(1024) == 3072
    assert spec.out_grid(1008, 1008, grid=lambda h, w: Grid(h // 14, w // 14)) == Grid(24, 24)


def test_an_oblong_image_is_scaled_and_cut_by_each_of_its_sides() -> None:
    assert S2(scales=(1, 2)).views(28, 42) == (
        View(height_px=28, width_px=42, rows=1, cols=1),
        View(height_px=56, width_px=84, rows=2, cols=2),
    )
    assert S2(scales=(2,), max_tile_px=28).views(28, 42) == (View(height_px=56, width_px=84, rows=2, cols=3),)


def test_a_scale_in_pixels_is_the_shorter_side() -> None:
    assert S2(scales=(28,), unit="px", max_tile_px=14).views(84, 56) == (
        View(height_px=42, width_px=28, rows=3, cols=2),
    )


def test_an_encoder_without_context_sees_the_same_at_every_cut() -> None:
    images = random_images(32, 48)
    whole = s2_features(S2(scales=(1, 2), max_tile_px=96), means, images, grid=grid)
    cut = s2_features(S2(scales=(1, 2), max_tile_px=16), means, images, grid=grid)
    torch.testing.assert_close(whole, cut, rtol=0, atol=1e-6)


def test_the_first_scale_is_the_encoder_itself() -> None:
    images = random_images(32, 48)
    features = s2_features(S2(scales=(1, 2)), means, images, grid=grid)
    assert features.shape == (2, 8 * 12, 6)
    assert torch.equal(features[..., :3], means(images))


def test_an_image_that_comes_at_its_largest_scale_is_cut_there_and_shrunk_for_the_others() -> None:
    large = random_images(32, 48)
    features = s2_features(S2(scales=(1, 2), comes_at=2), means, large, grid=grid)
    small = functional.interpolate(large, size=(16, 24), mode="bicubic")
    assert torch.equal(features[..., :3], means(small))
    fine = functional.avg_pool2d(means(large).mT.unflatten(2, (8, 12)), 2).flatten(2).mT
    torch.testing.assert_close(features[..., 3:], fine)
    assert [view.num_tiles for view in S2(scales=(1, 2), comes_at=2).views(32, 48)] == [1, 4]
    pixels = s2_features(S2(scales=(0.5, 1), max_tile_px=24), means, large, grid=grid)
    torch.testing.assert_close(features, pixels)


def test_an_image_that_does_not_come_at_whole_pixels_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"at 2 times their size, but 33 x 48 px is not 2 times whole pixels: resize"):
        S2(scales=(1, 2), comes_at=2).views(33, 48)


@settings(deadline=None, max_examples=40)
@given(
    sides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    scales=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    max_tile=st.sampled_from([8, 16, "image"]),
    resize_to=st.integers(-1, 0),
    views_per_call=st.sampled_from([1, 3, "all"]),
)
def test_what_is_planned_is_what_comes_out(
    sides: tuple[int, int], scales: list[int], max_tile: Any, resize_to: int, views_per_call: Any
) -> None:
    height, width = 8 * sides[0], 8 * sides[1]
    spec = S2(scales=tuple(scales), max_tile_px=max_tile, resize_to=resize_to, views_per_call=views_per_call)
    sizes: list[tuple[int, ...]] = []

    def counted(pixels: Tensor) -> Tensor:
        sizes.append(tuple(pixels.shape))
        return means(pixels)

    try:
        planned = spec.out_grid(height, width, grid=grid)
    except ShapeError:
        return
    if any(side % PATCH for view in spec.views(height, width) for side in view.tile_px):
        return
    features = s2_features(spec, counted, random_images(height, width), grid=grid)
    assert features.shape == (2, planned.size, spec.out_dim(3))
    assert sum(shape[0] for shape in sizes) == 2 * spec.num_views(height, width)
    assert views_per_call == "all" or max(shape[0] for shape in sizes) <= views_per_call


def test_tiles_of_one_size_share_one_call_and_the_numbers_stay() -> None:
    images = random_images(32, 32)
    calls: list[int] = []

    def counted(pixels: Tensor) -> Tensor:
        calls.append(pixels.shape[0])
        return means(pixels)

    spec = S2(scales=(1, 1.5, 2, 3), views_per_call="all")
    together = s2_features(spec, counted, images, grid=grid)
    assert calls == [2 * (1 + 4 + 9), 2 * 4]
    one_by_one = s2_features(S2(scales=(1, 1.5, 2, 3), views_per_call=1), counted, images, grid=grid)
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=1e-6)


def test_images_of_a_batch_do_not_mix() -> None:
    images = random_images(32, 16, batch=3)
    spec = S2(scales=(1, 2, 3), resize_to=-1)
    alone = torch.cat([s2_features(spec, means, images[i : i + 1], grid=grid) for i in range(3)])
    torch.testing.assert_close(s2_features(spec, means, images, grid=grid), alone, rtol=0, atol=1e-6)


def test_prefix_tokens_are_the_means_over_the_tiles_of_their_scale() -> None:
    def with_prefix(pixels: Tensor) -> Tensor:
        tokens = means(pixels)
        return torch.cat([tokens[:, :1], tokens[:, -1:], tokens], dim=1)

    def prefixed(height_px: int, width_px: int) -> Grid:
        return Grid(height_px // PATCH, width_px // PATCH, prefix=2)

    images = random_images(16, 16)
    spec = S2(scales=(1, 2))
    features = s2_features(spec, with_prefix, images, grid=prefixed)
    big = functional.interpolate(images, size=32, mode="bicubic")
    corners = torch.stack([with_prefix(big[..., r : r + 16, c : c + 16])[:, :2] for r in (0, 16) for c in (0, 16)])
    assert spec.out_grid(16, 16, grid=prefixed) == Grid(4, 4, prefix=2)
    torch.testing.assert_close(features[:, :2, 3:], corners.mean(0), rtol=0, atol=1e-6)
    assert torch.equal(features[:, :2, :3], with_prefix(images)[:, :2])


def test_costs_are_those_of_every_tile() -> None:
    assert S2(scales=(1, 2, 3)).flops(32, 32, flops=lambda h, w: h * w) == 14 * 32 * 32


def test_a_specification_comes_back_from_json() -> None:
    spec = S2(scales=(0.5, 1), max_tile_px=32, resize_to=-1, views_per_call=4)
    assert S2.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert S2.from_dict({}) == S2()
    with pytest.raises(
        SpecError, match=r"S2 has no option scale. Options: scales, unit, comes_at, max_tile_px, resize_to"
    ):
        S2.from_dict({"scale": [1]})


def test_gradients_reach_the_image_through_every_scale() -> None:
    images = random_images(16, 16).requires_grad_()
    features = s2_features(S2(scales=(1, 2)), means, images, grid=grid)
    for half in (features[..., :3], features[..., 3:]):
        (gradient,) = torch.autograd.grad(half.sum(), images, retain_graph=True)
        assert (gradient.abs() > 0).all()


def test_tiles_that_would_not_be_equal_name_sides_that_fit() -> None:
    message = (
        r"cannot cut 41 x 41 px \(scale 1.3 of an image of 32 x 32 px\) into 2 x 2 equal tiles.*fit: 40 or 42 x 40"
    )
    with pytest.raises(ShapeError, match=message):
        S2(scales=(1, 1.3)).views(32, 32)


def test_an_image_that_a_scale_makes_vanish_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"cannot cut 0 x 1 px \(scale 0.1 of an image of 8 x 16 px\)"):
        S2(scales=(0.1,)).views(8, 16)


def test_features_that_do_not_lie_on_the_grid_are_refused() -> None:
    with pytest.raises(
        ShapeError, match=r"shape \(2, 64, 3\) for tiles of 32 x 32 px, whose grid 2 x 2 has 4: pass a grid"
    ):
        s2_features(S2(scales=(1,)), means, random_images(32, 32), grid=lambda h, w: Grid(h // 16, w // 16))


def test_maps_are_not_tokens_and_tokens_are_not_maps() -> None:
    with pytest.raises(ShapeError, match=r"needs an encoder that returns \(batch, dim, rows, cols\), got \(2, 64, 3\)"):
        s2_maps(S2(scales=(1,)), means, random_images(32, 32))
    with pytest.raises(ShapeError, match="use s2_maps for an encoder that returns maps"):
        s2_features(S2(scales=(1,)), lambda p: functional.avg_pool2d(p, 4), random_images(32, 32), grid=grid)


def test_an_encoder_that_loses_images_is_found_out() -> None:
    with pytest.raises(ShapeError, match="the encoder returned 1 rows of features for 2 tiles"):
        s2_features(S2(scales=(1,)), lambda p: means(p)[:1], random_images(32, 32), grid=grid)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": ()}, r"S2 needs scales above 0 .* got scales=\(\)"),
        ({"scales": (1, 0)}, "S2 needs scales above 0"),
        ({"scales": (1, math.nan)}, "S2 needs scales above 0"),
        ({"scales": (math.inf,)}, "S2 needs scales above 0"),
        ({"comes_at": math.inf}, "S2 needs comes_at above 0"),
        pytest.param(
            {"unit": "cm"},
            'S2 needs scales above 0 in unit "image" or "px", got .* unit="cm"',
            marks=pytest.mark.unchecked,
        ),
        ({"comes_at": 0}, r"S2 needs comes_at above 0, and 1 where scales are in pixels, got comes_at=0"),
        ({"comes_at": 2, "unit": "px"}, r'got comes_at=2 and unit="px"'),
        ({"max_tile_px": 0}, 'S2 needs max_tile_px of at least 1, or "image", got 0'),
        ({"views_per_call": 0}, 'S2 needs views_per_call of at least 1, or "scale" or "all", got 0'),
        ({"resize_to": 2}, "S2 has 2 scales, so resize_to must be -2 to 1, got 2"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        S2(**options)
