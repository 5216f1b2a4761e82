"""Sizes and tilings that the properties are tried on, and refusals."""

import pytest
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from opticnerve.errors import OpticNerveError
from opticnerve.tiling import (
    AnyResTiling,
    DynamicS2Tiling,
    Idefics3Tiling,
    InternVLTiling,
    MiniCPMTiling,
    PixtralTiling,
    PlainTiling,
    QwenTiling,
    TokenPackerHDTiling,
    parse_pinpoints,
)

EXAMPLES = (
    PlainTiling(),
    PlainTiling(height_px=224, width_px=448, fit="pad", pad_rgb=(122, 116, 104)),
    PlainTiling(fit="keep"),
    InternVLTiling(),
    InternVLTiling(tile_px=336, min_tiles=2, max_tiles=40, has_thumbnail=False),
    AnyResTiling(),
    AnyResTiling(tile_px=384, pinpoints=parse_pinpoints("(1x1),...,(6x6)", tile_px=384), max_map_tiles=9),
    AnyResTiling(merge="flat", has_newline=False),
    AnyResTiling(merge="spatial", rounds_unpad=True),
    MiniCPMTiling(),
    MiniCPMTiling(max_slices=4, scale_px=336, multiple_px=56),
    QwenTiling(extreme="stretch"),
    QwenTiling(factor_px=32, min_pixels=65536, max_pixels=16777216, extreme="stretch"),
    DynamicS2Tiling(),
    DynamicS2Tiling(tile_px=384, scales_px=(384, 768), max_tiles=6, output_scale=0),
    Idefics3Tiling(),
    Idefics3Tiling(tile_px=512, longest_px=2048),
    PixtralTiling(extreme="stretch"),
    PixtralTiling(longest_px=1540, factor_px=28, extreme="stretch"),
    TokenPackerHDTiling(),
    TokenPackerHDTiling(max_tiles=25),
)
"""Every tiling with its defaults, and with other options."""

tilings = st.sampled_from(EXAMPLES)
sides = st.one_of(st.integers(1, 20_000), st.integers(1, 40).map(lambda n: n * 56), st.integers(1, 30))
"""Sides of images in pixels: any, round ones, and the very short."""


def refused(message: str):
    """Expect our sentence about a value of the wrong type, or jaxtyping's where it checks types before we can."""
    return pytest.raises((OpticNerveError, TypeCheckError), match=f"{message}|^Type-check error")
