"""NVILA's scales."""

import pytest

from opticnerve.errors import SpecError
from opticnerve.tiling import DynamicS2Tiling

from .strategies import refused


def test_scales_come_smallest_first_and_only_the_last_has_the_images_shape():
    plan = DynamicS2Tiling().plan(600, 800)
    assert [(canvas.scale, canvas.rows, canvas.cols) for canvas in plan.canvases] == [(0, 1, 1), (1, 2, 2), (2, 3, 4)]
    assert len(plan.batches) == 1


def test_only_tiles_of_the_output_scale_become_tokens():
    plan = DynamicS2Tiling().plan(600, 800)
    assert (len(plan.grids(14)), len(plan.token_grids(14))) == (17, 12)
    assert plan.num_tokens(plan.token_grids(28)) == 12 * 256
    assert len(DynamicS2Tiling(output_scale=0).plan(600, 800).token_grids(14)) == 1


def test_too_few_tiles_for_the_last_scale_make_it_one_tile_as_published():
    assert DynamicS2Tiling(max_tiles=6).plan(600, 800).canvases[-1].num_tiles == 1


@pytest.mark.parametrize("scales", [(), (896, 448), (0, 448), (448.0,)])
def test_scales_that_do_not_rise_are_refused(scales):
    with refused(r"needs scales_px in px, smallest first, got \("):
        DynamicS2Tiling(scales_px=scales)


def test_an_output_scale_that_is_not_there_is_refused():
    with pytest.raises(SpecError, match=r"has 3 scales, so output_scale must be -3 to 2, got 3"):
        DynamicS2Tiling(output_scale=3)
