"""Canvases and plans."""

from dataclasses import replace

import pytest

from opticnerve.errors import GridError
from opticnerve.grid import Grid, Queries
from opticnerve.tiling import AnyResTiling, Box, Canvas, InternVLTiling, MiniCPMTiling


def test_tiles_that_do_not_fill_a_canvas_are_refused():
    box = Box(top=0, left=0, height=10, width=10)
    with pytest.raises(GridError, match=r"3 x 1 tiles do not fill a canvas of 10 x 10 px: its sides must be multiples"):
        Canvas(height_px=10, width_px=10, content=box, rows=3)


@pytest.mark.parametrize("box", [(0, 0, 11, 10), (0, 1, 10, 10), (-1, 0, 5, 5), (0, 0, 0, 5)])
def test_an_image_beside_its_canvas_is_refused(box):
    top, left, height, width = box
    with pytest.raises(GridError, match=r"Box\(.*\) does not lie on a canvas of 10 x 10 px: move or trim it"):
        Canvas(height_px=10, width_px=10, content=Box(top=top, left=left, height=height, width=width))


@pytest.mark.parametrize("patch_px", [0, 449])
def test_a_tile_without_a_patch_is_refused(patch_px):
    with pytest.raises(GridError, match=r"a tile of 448 x 448 px holds no patch of \d+ px: use 1 to 448 px"):
        InternVLTiling().plan(600, 800).grids(patch_px)


def test_pixels_beyond_the_last_patch_are_dropped():
    assert set(AnyResTiling(tile_px=384, pinpoints=()).plan(10, 10).grids(14)) == {Grid(27, 27)}


def test_a_plan_without_its_output_scale_is_refused():
    with pytest.raises(GridError, match=r"a plan needs a canvas of scale 1: 2 canvases given"):
        replace(InternVLTiling().plan(600, 800), output_scale=1)


def test_a_grid_for_each_tile_comes_in_encoder_order():
    grids = MiniCPMTiling().plan(1080, 1920).grids(14)
    assert grids == (Grid(24, 43), *[Grid(34, 30)] * 8)


def test_learned_queries_can_be_counted_but_not_laid_on_a_map():
    plan = InternVLTiling().plan(600, 800)
    assert plan.num_tokens([Queries(64)] * 13) == 13 * 64
    with pytest.raises(GridError, match=r'on a map \(merge="spatial_unpad"\), but learned queries lie nowhere: set'):
        AnyResTiling().plan(600, 800).num_tokens([Queries(64)] * 5)


def test_a_place_is_needed_for_each_tile():
    with pytest.raises(GridError, match=r"the plan has 13 tiles with tokens, got 1 places: give one for each"):
        InternVLTiling().plan(600, 800).num_tokens([Grid(16, 16)])


def test_tiles_of_one_canvas_need_one_grid():
    places = [*[Grid(16, 16)] * 11, Grid(8, 8), Grid(16, 16)]
    with pytest.raises(GridError, match=r"tiles of one canvas have the same size: give all of them the same grid"):
        InternVLTiling().plan(600, 800).num_tokens(places)


def test_boxes_on_the_image_end_at_its_border():
    boxes = AnyResTiling().plan(600, 800).image_boxes
    assert boxes[0] == pytest.approx((0, 0, 600, 800))
    assert boxes[1] == pytest.approx((0, 0, 300, 400))
    assert boxes[4] == pytest.approx((300, 400, 600, 800))
