"""LLaVA-NeXT's canvases."""

import pytest

from opticnerve.errors import SpecError
from opticnerve.tiling import LLAVA_NEXT_PINPOINTS, AnyResTiling, parse_pinpoints

from .strategies import refused


def test_the_base_view_comes_first_and_is_stretched():
    base, tiles = AnyResTiling().plan(600, 800).canvases
    assert (base.role, base.tile_px, base.keeps_aspect) == ("overview", (336, 336), False)
    assert (tiles.role, tiles.keeps_aspect) == ("tiles", True)


def test_the_image_is_centred_on_its_canvas():
    box = AnyResTiling().plan(600, 800).canvases[1].content
    assert (box.top, box.left, box.height, box.width) == (84, 0, 504, 672)


def test_the_first_of_equal_canvases_wins():
    assert AnyResTiling().plan(224, 224).canvases[1].height_px == 672
    turned = AnyResTiling(pinpoints=tuple((width, height) for height, width in LLAVA_NEXT_PINPOINTS))
    assert turned.plan(224, 224).canvases[1].height_px == 336


def test_an_image_that_vanishes_on_every_canvas_takes_the_smallest_and_is_one_pixel_thick():
    tiles = AnyResTiling().plan(1, 10_000).canvases[1]
    assert (tiles.height_px, tiles.width_px) == (672, 336)
    assert tiles.content.height == 1


def test_a_budget_ends_at_the_base_view_alone():
    tiling = AnyResTiling()
    plan = tiling.plan(600, 800)
    counts = [plan.num_tiles]
    while (plan := tiling.smaller(plan)) is not None:
        counts.append(plan.num_tiles)
    assert counts == [5, 3, 1]


def test_published_lists_are_read_width_first():
    text = "[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]"
    assert parse_pinpoints(text, tile_px=336) == LLAVA_NEXT_PINPOINTS
    assert parse_pinpoints("(1x1),...,(2x3)", tile_px=10) == (
        (10, 10), (20, 10), (30, 10), (10, 20), (20, 20), (30, 20),
    )  # fmt: skip
    assert parse_pinpoints("(1x1),(1x2)", tile_px=10) == ((10, 10), (20, 10))


def test_a_list_that_releases_read_differently_is_refused():
    with pytest.raises(SpecError, match=r"mean these grids in some releases .* write pixels"):
        parse_pinpoints("(1x2),(2x1),(2x2)", tile_px=336)


@pytest.mark.parametrize("text", ["large", "[336, 672]", "[[336]]"])
def test_an_unreadable_list_is_refused(text):
    with pytest.raises(SpecError, match=r'cannot read pinpoints .* or "\(1x1\),\.\.\.,\(6x6\)"'):
        parse_pinpoints(text, tile_px=336)


@pytest.mark.parametrize("size", [(336, 500), (336,), (0, 336), (336.0, 336)])
def test_a_canvas_is_made_of_whole_tiles(size):
    with refused(r"needs pinpoints as \(height, width\) in multiples of 336 px, got \("):
        AnyResTiling(pinpoints=(size,))


def test_a_colour_is_three_bytes():
    with pytest.raises(SpecError, match=r"needs pad_rgb as three whole numbers from 0 to 255, got \(0, 0, 256\)"):
        AnyResTiling(pad_rgb=(0, 0, 256))
