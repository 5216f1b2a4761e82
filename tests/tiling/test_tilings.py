"""What holds for every tiling, any options and any image."""

import json

import pytest
from hypothesis import given, settings

from opticnerve.tiling import TILINGS, tiling_from_dict

from .strategies import EXAMPLES, refused, sides, tilings


def test_every_registered_tiling_is_tried_here():
    assert {type(example) for example in EXAMPLES} == set(TILINGS.values())


@settings(max_examples=400)
@given(tiling=tilings, height=sides, width=sides)
def test_tiles_cover_each_canvas_exactly_once_in_raster_order(tiling, height, width):
    for canvas in tiling.plan(height, width).canvases:
        tile_height, tile_width = canvas.tile_px
        assert (canvas.rows * tile_height, canvas.cols * tile_width) == (canvas.height_px, canvas.width_px)
        corners = [(box.top, box.left) for box in canvas.tile_boxes]
        assert corners == sorted(set(corners))
        assert len(corners) == canvas.num_tiles
        assert sum(box.height * box.width for box in canvas.tile_boxes) == canvas.height_px * canvas.width_px


@settings(max_examples=400)
@given(tiling=tilings, height=sides, width=sides)
def test_any_image_gets_a_bounded_number_of_tiles_with_pixels_in_them(tiling, height, width):
    plan = tiling.plan(height, width)
    assert 1 <= plan.num_tiles <= tiling.most_tiles
    assert plan.num_tiles == len(plan.grids(14))
    for canvas in plan.canvases:
        assert min(canvas.content.height, canvas.content.width) >= 1
        assert min(canvas.tile_px) >= 14


@settings(max_examples=200)
@given(tiling=tilings, height=sides, width=sides)
def test_plans_are_whole_numbers_only(tiling, height, width):
    for canvas in tiling.plan(height, width).canvases:
        box = canvas.content
        values = (canvas.height_px, canvas.width_px, canvas.rows, canvas.cols, *canvas.tile_px, canvas.scale)
        assert all(type(value) is int for value in (*values, box.top, box.left, box.height, box.width))


@settings(max_examples=200)
@given(tiling=tilings, height=sides, width=sides)
def test_tiles_show_the_image_and_all_of_it(tiling, height, width):
    plan = tiling.plan(height, width)
    boxes = plan.image_boxes
    assert len(boxes) == plan.num_tiles
    for top, left, bottom, right in boxes:
        assert 0 <= top <= bottom <= height
        assert 0 <= left <= right <= width
    start = 0
    for canvas in plan.canvases:
        part = boxes[start : start + canvas.num_tiles]
        start += canvas.num_tiles
        area = sum((bottom - top) * (right - left) for top, left, bottom, right in part)
        assert area == pytest.approx(height * width, rel=1e-6)


@settings(max_examples=200)
@given(tiling=tilings, height=sides, width=sides)
def test_smaller_plans_get_cheaper_until_one_is_the_least(tiling, height, width):
    def cost(plan):
        return plan.num_tiles, sum(canvas.height_px * canvas.width_px for canvas in plan.canvases)

    plan = tiling.plan(height, width)
    for _ in range(60):
        less = tiling.smaller(plan)
        if less is None:
            break
        assert cost(less) < cost(plan)
        assert (less.image_height_px, less.image_width_px) == (height, width)
        plan = less


@pytest.mark.parametrize("tiling", EXAMPLES, ids=repr)
def test_a_tiling_survives_json(tiling):
    data = json.loads(json.dumps(tiling.to_dict()))
    again = tiling_from_dict(data)
    assert again == tiling
    assert hash(again) == hash(tiling)
    assert again.plan(600, 800) == tiling.plan(600, 800)


@pytest.mark.parametrize("tiling", EXAMPLES, ids=repr)
@pytest.mark.parametrize("size", [(0, 20), (20, -1), (2.5, 20), (True, 20)])
def test_an_image_without_pixels_is_refused(tiling, size):
    with refused(r"an image needs whole sides of at least 1 px, got .* \(h x w\)"):
        tiling.plan(*size)
