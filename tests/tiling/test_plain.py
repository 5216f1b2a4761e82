"""One view of a fixed size."""

import pytest

from opticnerve.errors import SpecError
from opticnerve.tiling import PlainTiling

from .strategies import refused


def test_stretching_fills_the_view():
    canvas = PlainTiling().plan(600, 800).canvases[0]
    assert (canvas.content.height, canvas.content.width, canvas.keeps_aspect) == (336, 336, False)


def test_padding_centres_the_image():
    box = PlainTiling(fit="pad").plan(600, 800).canvases[0].content
    assert (box.top, box.left, box.height, box.width) == (42, 0, 252, 336)
    box = PlainTiling(fit="pad").plan(800, 600).canvases[0].content
    assert (box.top, box.left, box.height, box.width) == (0, 42, 336, 252)


def test_keeping_the_shape_gives_a_smaller_view_of_whole_patches():
    canvas = PlainTiling(fit="keep").plan(500, 800).canvases[0]
    assert (canvas.height_px, canvas.width_px) == (210, 336)
    assert PlainTiling(fit="keep").plan(1, 20_000).canvases[0].tile_px == (14, 336)


def test_an_unknown_fit_is_refused():
    with refused(r'needs fit as "stretch", "pad" or "keep", got \'crop\''):
        PlainTiling(fit="crop")


def test_a_view_smaller_than_a_patch_is_refused():
    with pytest.raises(SpecError, match=r"cannot fit a multiple of 14 px into a view of 10 x 336 px: lower multiple"):
        PlainTiling(fit="keep", height_px=10)
