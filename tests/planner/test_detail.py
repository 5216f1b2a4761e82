"""Detail: worked examples."""

import json
from dataclasses import replace
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opticnerve.planner.detail import GLYPHS_PER_TOKEN, READABLE_PX, pixels_per_token, readable_px
from opticnerve.planner.model import Look
from planner.parts import model

LOOK = Look(
    height_px=896,
    width_px=1344,
    num_tiles=6,
    num_features=6 * 32 * 32,
    num_tokens=6 * 16 * 16,
    num_separators=0,
    encoder_flops=0,
    connector_flops=0,
    encoder_values=0,
    connector_bytes=0,
    tile_pixels=6 * 448 * 448,
    zoom=1,
)
"""InternVL without overview: six tiles of 448 x 448 px, each 256 tokens of 28 x 28 px."""


def test_pixels_of_the_image_are_shared_by_its_tokens() -> None:
    assert pixels_per_token(LOOK) == 28 * 28
    assert pixels_per_token(replace(LOOK, height_px=448, width_px=672, zoom=2)) == 14 * 14


def test_internvls_tokens_read_type_of_twelve_pixels() -> None:
    """28 x 28 px hold 8 characters of 0.6 x 1.2 em where an em is 11.7 px: the encoder is what limits."""
    assert pytest.approx(11.67, abs=0.01) == (28**2 / (0.72 * GLYPHS_PER_TOKEN)) ** 0.5
    assert readable_px(LOOK) == READABLE_PX == 12


def test_readable_is_what_was_measured_of_the_bundled_encoder() -> None:
    """The card's sizes are those of a canvas that is halved on its way: 24 to 27 px there are 12 to 14."""
    card = json.loads(files("opticnerve.encoders.bundled").joinpath("card.json").read_text())
    words = {
        (fonts, low): card["accuracy"][fonts][f"thumbnail/word at {low}-{low + 3} canvas px"]["share"]
        for fonts in ("training_fonts", "unseen_fonts")
        for low in (16, 2 * READABLE_PX)
    }
    assert {key: round(100 * share) for key, share in words.items()} == {
        ("training_fonts", 24): 90,
        ("unseen_fonts", 24): 72,
        ("training_fonts", 16): 51,
        ("unseen_fonts", 16): 35,
    }


def test_what_is_shrunk_must_be_larger_before() -> None:
    assert readable_px(replace(LOOK, height_px=1792, width_px=2688, zoom=0.5)) == 24
    assert readable_px(replace(LOOK, height_px=448, width_px=672, zoom=2)) == 6


def test_crowded_tokens_need_larger_type() -> None:
    """Tokens of 112 x 112 px: 8 characters of 0.72 square ems fill them at 46.7 px."""
    crowded = replace(LOOK, num_tokens=6 * 4 * 4)
    assert readable_px(crowded) == pytest.approx(112 / (0.72 * 8) ** 0.5)
    assert readable_px(crowded) == pytest.approx(46.67, abs=0.01)
    assert pixels_per_token(crowded) == 112**2


def test_more_tiles_of_the_bundled_encoder_read_smaller_type() -> None:
    """Tiles of 256 px, each 64 tokens of 32 x 32 px, which hold 8 characters of 13.3 px: on 1, 2 and 3 tiles a side."""
    sizes = [readable_px(model(max_tiles=tiles, has_thumbnail=False).look(1000, 1000)) for tiles in (1, 4, 9)]
    crowded = 32 / (0.72 * 8) ** 0.5
    assert sizes == pytest.approx([crowded * 1000 / side for side in (256, 512, 768)])


@settings(max_examples=30, deadline=None)
@given(side=st.integers(64, 4000), times=st.integers(2, 4))
def test_a_larger_image_in_the_same_tiles_has_less_detail(side: int, times: int) -> None:
    planned = model(tiling="plain")
    once, more = planned.look(side, side), planned.look(times * side, times * side)
    assert readable_px(more) == pytest.approx(times * readable_px(once))
    assert pixels_per_token(more) == times**2 * pixels_per_token(once)
