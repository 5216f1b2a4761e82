"""Maps: laid out, stitched and resized exactly as the slow and obvious way does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from opticnerve.errors import ShapeError
from opticnerve.grid import Grid
from opticnerve.multiscale.maps import area_resize, from_map, stitch_map, to_map
from opticnerve.tiling import stitch

sides = st.integers(1, 6)


@given(sides, sides, st.integers(1, 3))
def test_a_map_and_its_tokens_are_one_another(rows: int, cols: int, batch: int) -> None:
    features = torch.randn(batch, rows * cols, 2)
    assert torch.equal(from_map(to_map(features, Grid(rows, cols))), features)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_stitched_tokens_are_the_stitched_maps(rows: int, cols: int, height: int, width: int, batch: int) -> None:
    grid = Grid(height, width)
    features = torch.randn(rows * cols * batch, grid.size, 3)
    whole = stitch_map(features, grid, rows=rows, cols=cols)
    assert torch.equal(whole, stitch(to_map(features, grid), rows=rows, cols=cols))


def test_tokens_of_stitched_maps_are_read_without_a_copy() -> None:
    whole = stitch_map(torch.randn(12, 4, 3), Grid(2, 2), rows=2, cols=3)
    assert from_map(whole).data_ptr() == whole.data_ptr()


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), sides, sides)
def test_every_ratio_is_resized_by_area(height: int, width: int, rows: int, cols: int) -> None:
    features = torch.randn(2, 3, height, width)
    wanted = functional.interpolate(features, size=(rows, cols), mode="area")
    torch.testing.assert_close(area_resize(features, rows=rows, cols=cols), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_areas_keep_the_dtype(dtype: torch.dtype) -> None:
    assert area_resize(torch.ones(1, 2, 6, 4, dtype=dtype), rows=4, cols=4).dtype == dtype


def test_features_of_a_video_are_no_map() -> None:
    with pytest.raises(ShapeError, match="8 features do not lie on a 2 x 2 x 2 grid of 8 patches of one image"):
        to_map(torch.zeros(1, 8, 1), Grid(2, 2, frames=2))
