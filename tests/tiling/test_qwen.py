"""Qwen2-VL's smart resize."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opticnerve.errors import ImageError, SpecError
from opticnerve.tiling import QwenTiling

from .strategies import refused, sides


@given(height=sides, width=sides)
def test_sides_are_multiples_and_the_area_keeps_its_limits_up_to_rounding(height, width):
    tiling = QwenTiling(extreme="stretch")
    canvas = tiling.plan(height, width).canvases[0]
    assert canvas.height_px % 28 == canvas.width_px % 28 == 0
    area = canvas.height_px * canvas.width_px
    assert tiling.min_pixels <= area <= tiling.max_pixels


@given(width=st.integers(201, 20_000))
def test_an_extreme_image_is_refused_as_published(width):
    with pytest.raises(ImageError, match=rf"1 x {width} px is more than 200 times .* or set extreme=\"stretch\""):
        QwenTiling().plan(1, width)


def test_an_extreme_image_is_widened_on_request():
    plan = QwenTiling(extreme="stretch").plan(1, 20_000)
    assert plan.canvases == QwenTiling(extreme="stretch").plan(1, 20_000).canvases
    assert plan.canvases[0].tile_px == QwenTiling().plan(100, 20_000).canvases[0].tile_px
    assert not plan.canvases[0].keeps_aspect


def test_contradicting_limits_are_refused():
    with pytest.raises(SpecError, match=r"at least 200 and at most 100 pixels: lower min_pixels or raise max_pixels"):
        QwenTiling(min_pixels=200, max_pixels=100)


def test_an_unknown_way_out_is_refused():
    with refused(r'needs extreme as "error" or "stretch", got \'crop\''):
        QwenTiling(extreme="crop")
