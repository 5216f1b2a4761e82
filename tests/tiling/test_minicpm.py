"""MiniCPM-V's slices."""

import pytest

from opticnerve.errors import SpecError
from opticnerve.tiling import MiniCPMTiling


def test_the_source_view_comes_first_and_views_are_not_square():
    source, slices = MiniCPMTiling().plan(1080, 1920).canvases
    assert (source.role, source.tile_px) == ("overview", (336, 602))
    assert (slices.rows, slices.cols, slices.tile_px) == (2, 4, (476, 420))
    assert [len(batch) for batch in MiniCPMTiling().plan(1080, 1920).batches] == [1, 1]


def test_small_images_are_one_view_however_long():
    plan = MiniCPMTiling().plan(1, 20_000)
    assert plan.num_tiles == 1
    assert plan.canvases[0].tile_px == (14, 60_004)


def test_one_slice_means_none():
    assert MiniCPMTiling(max_slices=1).plan(3000, 4000).num_tiles == 1


def test_no_slices_are_refused():
    with pytest.raises(SpecError, match=r'"minicpm" needs max_slices as a whole number of at least 1, got 0'):
        MiniCPMTiling(max_slices=0)
