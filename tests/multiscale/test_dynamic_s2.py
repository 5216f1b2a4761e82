"""Dynamic S2: counts before features, tiles back in their places, and what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opticnerve.errors import GridError, ShapeError, SpecError
from opticnerve.grid import Grid
from opticnerve.multiscale import DynamicS2, dynamic_tile_grids
from opticnerve.multiscale.maps import from_map, to_map
from opticnerve.tiling import DynamicS2Tiling, split

NVILA = (448, 896, 1344)


def test_nvila_has_one_and_four_and_the_images_own_tiles() -> None:
    tiles = dynamic_tile_grids(NVILA, rows=2, cols=5)
    spec = DynamicS2()
    assert tiles == ((1, 1), (2, 2), (2, 5))
    assert spec.num_tiles(tiles) == 15
    assert spec.out_tiles(tiles) == (2, 5)
    assert spec.out_grid(tiles, tile=Grid(32, 32)) == Grid(64, 160)
    assert spec.out_grid(tiles, tile=Grid(16, 16)).size == 2560
    assert spec.out_dim(1152) == 3456


@pytest.mark.parametrize(("height", "width"), [(900, 1600), (448, 448), (2000, 500)])
def test_the_tiles_of_a_tiling_plan_are_those_that_are_joined(height: int, width: int) -> None:
    canvases = DynamicS2Tiling().plan(height, width).canvases
    tiles = tuple((canvas.rows, canvas.cols) for canvas in canvases)
    rows, cols = tiles[-1]
    assert tiles == dynamic_tile_grids(NVILA, rows=rows, cols=cols)
    assert DynamicS2().num_tiles(tiles) == sum(canvas.num_tiles for canvas in canvases)


def test_an_image_that_is_not_cut_repeats_its_features_over_all_scales() -> None:
    features = torch.randn(1, 6, 4)
    (merged,) = DynamicS2().merge(features, images=[((1, 1),)], tile=Grid(2, 3))
    assert torch.equal(from_map(merged), torch.cat([features] * 3, dim=-1))


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(-2, 1))
def test_a_projector_that_changes_nothing_leaves_every_feature_in_its_place(
    rows: int, cols: int, tile_rows: int, tile_cols: int, resize_to: int
) -> None:
    tile, spec = Grid(tile_rows, tile_cols), DynamicS2(num_scales=2, resize_to=resize_to)
    images = [((1, 1), (rows, cols)), ((1, 1),), ((1, 1), (cols, rows))]
    features = torch.randn(2 * (1 + rows * cols) + 1, tile.size, 3)
    maps = spec.merge(features, images=images, tile=tile)
    tokens = spec.project(maps, lambda own: own, images=images, tile=tile)
    for own, merged, tiles in zip(tokens, maps, images, strict=True):
        assert torch.equal(own, from_map(merged)[0])
        assert own.shape == (spec.out_grid(tiles, tile=tile).size, spec.out_dim(3))


def test_each_scale_keeps_its_channels_and_the_chosen_one_its_features() -> None:
    whole = torch.randn(1, 5, 4, 6)
    first = torch.randn(1, 4, 5)
    features = torch.cat([first, from_map(split(whole, rows=2, cols=3))])
    (merged,) = DynamicS2(num_scales=2).merge(features, images=[((1, 1), (2, 3))], tile=Grid(2, 2))
    assert torch.equal(merged[:, 5:], whole)
    assert torch.equal(merged[:, :5, :2, :3], to_map(first, Grid(2, 2))[:, :, :1, :1].expand(1, 5, 2, 3))


def test_the_projector_sees_single_tiles_and_may_shrink_them() -> None:
    seen: list[tuple[int, ...]] = []

    def mean(tiles: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(tiles.shape))
        return tiles.mean(1, keepdim=True)

    spec, images, tile = DynamicS2(num_scales=2), [((1, 1), (2, 3)), ((1, 1),)], Grid(2, 2)
    maps = spec.merge(torch.randn(8, 4, 3), images=images, tile=tile)
    tokens = spec.project(maps, mean, images=images, tile=Grid(1, 1))
    assert seen == [(7, 4, 6)]
    assert [own.shape for own in tokens] == [(6, 6), (1, 6)]
    expected = torch.stack(
        [maps[0][0, :, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean((1, 2)) for r in (0, 1) for c in range(3)]
    )
    torch.testing.assert_close(tokens[0], expected, rtol=0, atol=1e-6)


def test_too_few_tiles_are_counted_out() -> None:
    with pytest.raises(
        ShapeError, match="2 images of 7, 1 tiles have 8 tiles, got features of 7: pass the tiles of all"
    ):
        DynamicS2(num_scales=2).merge(torch.zeros(7, 4, 1), images=[((1, 1), (2, 3)), ((1, 1),)], tile=Grid(2, 2))


@pytest.mark.parametrize("tiles", [(), ((1, 1), (2, 2)), ((2, 2),), ((1, 1), (2, 2), (0, 3))])
def test_tiles_of_other_scales_are_refused(tiles: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(
        ShapeError, match=r"tiles of each of its 3 scales, or \(\(1, 1\),\) for an image that is not cut"
    ):
        DynamicS2().num_tiles(tiles)


def test_features_on_another_grid_are_refused() -> None:
    with pytest.raises(ShapeError, match="9 features do not lie on a 2 x 2 grid of 4 patches of one image"):
        DynamicS2().merge(torch.zeros(1, 9, 1), images=[((1, 1),)], tile=Grid(2, 2))


def test_prefix_tokens_have_no_place_in_a_map() -> None:
    with pytest.raises(GridError, match="dynamic S2 works on places"):
        DynamicS2().merge(torch.zeros(1, 5, 1), images=[((1, 1),)], tile=Grid(2, 2, prefix=1))


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(SpecError, match="num_scales of at least 1, got 0"):
        DynamicS2(num_scales=0)
    with pytest.raises(SpecError, match="dynamic S2 has 3 scales, so resize_to must be -3 to 2, got 3"):
        DynamicS2(resize_to=3)
