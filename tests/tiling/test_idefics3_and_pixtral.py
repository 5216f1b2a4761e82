"""Idefics3's and Pixtral's own."""

import pytest

from opticnerve.errors import ImageError, SpecError
from opticnerve.tiling import Idefics3Tiling, PixtralTiling


def test_idefics3_brings_every_image_to_its_longest_side() -> None:
    tiling = Idefics3Tiling(tile_px=364, longest_px=1456)
    small, large = tiling.plan(30, 40), tiling.plan(3000, 4000)
    assert small.canvases == large.canvases
    assert (small.canvases[0].rows, small.canvases[0].cols) == (3, 4)
    assert small.canvases[1].role == "overview"


def test_idefics3_with_one_tile_has_no_overview() -> None:
    plan = Idefics3Tiling(tile_px=364, longest_px=364).plan(300, 300)
    assert plan.num_tiles == 1


def test_idefics3_never_goes_beyond_4096_pixels() -> None:
    assert Idefics3Tiling(tile_px=512, longest_px=8192).plan(100, 100).canvases[0].width_px == 4096
    wide, tall = (Idefics3Tiling(tile_px=512, longest_px=8192).plan(*size).canvases[0] for size in ((50, 99), (99, 50)))
    assert (wide.rows, wide.cols) == (tall.cols, tall.rows)


@pytest.mark.parametrize("size", [(1, 1), (300, 700), (2000, 30)])
def test_no_image_has_more_tiles_than_promised(size: tuple[int, int]) -> None:
    tiling = Idefics3Tiling(tile_px=364, longest_px=1456)
    assert tiling.plan(*size).num_tiles <= tiling.most_tiles == 17
    assert PixtralTiling().plan(*size).num_tiles == PixtralTiling().most_tiles == 1


def test_pixtral_reduces_large_images_and_leaves_small_ones() -> None:
    tiling = PixtralTiling(longest_px=1024, factor_px=16)
    assert tiling.plan(1500, 2000).canvases[0].tile_px == (768, 1024)
    assert tiling.plan(100, 33).canvases[0].tile_px == (112, 48)


@pytest.mark.parametrize("tiling", [Idefics3Tiling(), PixtralTiling()])
def test_smaller_plans_get_smaller_down_to_the_least(tiling: Idefics3Tiling | PixtralTiling) -> None:
    plan = tiling.plan(1000, 1400)
    areas: list[int] = []
    while plan is not None:
        areas.append(plan.canvases[0].height_px * plan.canvases[0].width_px)
        plan = tiling.smaller(plan)
    assert len(areas) > 3
    assert areas == sorted(areas, reverse=True)


def test_an_image_without_a_pixel_across_is_refused() -> None:
    with pytest.raises(ImageError, match=r"1 x 5000 px, reduced to 1024 px a side, has no pixel left across: crop it"):
        PixtralTiling().plan(1, 5000)
    assert PixtralTiling(extreme="stretch").plan(1, 5000).canvases[0].tile_px == (16, 1024)


def test_sides_must_be_whole() -> None:
    with pytest.raises(SpecError, match="tile_px"):
        Idefics3Tiling(tile_px=0)
    with pytest.raises(SpecError, match="factor_px"):
        PixtralTiling(factor_px=0)
