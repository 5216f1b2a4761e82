"""The configurations that the planner tries: methods, reductions and tilings around one encoder and one LLM."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from opticnerve.encoders import EncoderInfo
from opticnerve.planner.choice import Choice

SIDES = (1, 2, 3, 4)
"""Features along a side that become one visual token: reductions of 1, 4, 9 and 16."""
TILES = (1, 2, 4, 6, 9, 12, 24)
"""Most tiles of an image, the overview aside."""

Options = Mapping[str, object]


def methods(info: EncoderInfo) -> Iterator[tuple[str, int, Options]]:
    """List the survey's methods at each reduction that they know: name, reduction and options.

    Methods with a fixed number of tokens are asked for as many as the others make of the encoder's native grid.

    Args:
        info: of the encoder.
    """
    rows, cols = (side // info.patch_px for side in info.native_px)
    for side in SIDES:
        grid = (-(-rows // side), -(-cols // side))
        if side == 1:
            yield "mlp", 1, {}
            continue
        yield "pixel_shuffle", side**2, {"factor": side}
        yield "concat_mlp", side**2, {"factor": side}
        yield "pool", side**2, {"factor": side}
        yield "ldpv2", side**2, {"out_grid": grid}
        yield "qwen_vl_resampler", side**2, {"query_grid": grid}


def tilings(info: EncoderInfo, *, side: int) -> Iterator[tuple[str, Options]]:
    """List the tilings with as many tiles as they may have: name and options.

    Args:
        info: of the encoder.
        side: features along a side that become one token; images of free size are resized to multiples of it.
    """
    yield "plain", {}
    height, width = info.native_px
    block = info.patch_px * side if side > 1 else info.step_px
    if info.is_any_size:
        for times in (2, 3):
            yield "plain", {"height_px": _down(times * height, block), "width_px": _down(times * width, block)}
        for tiles in TILES:
            yield "qwen", {"factor_px": math.lcm(block, info.step_px), "max_pixels": tiles * height * width}
    if height != width:
        return
    for tiles in TILES[1:]:
        yield "internvl", {"max_tiles": tiles}
        if info.is_any_size and tiles <= 9:
            yield "minicpm", {"max_slices": tiles, "multiple_px": math.lcm(block, info.step_px)}
    yield "anyres", {}


def _down(px: int, block: int) -> int:
    return px // block * block


def configurations(base: Choice, info: EncoderInfo) -> Iterator[tuple[int, Choice]]:
    """Put methods and tilings together around an encoder and an LLM.

    Args:
        base: names the encoder, its layers and the LLM; the rest is varied.
        info: of the encoder.

    Yields:
        The reduction by the connector, and the choice. Not all of them can be built.
    """
    for method, reduction, options in methods(info):
        connector = replace(base, method=method, method_options=options, scales=(1,))
        for tiling, tiling_options in tilings(info, side=math.isqrt(reduction)):
            yield reduction, replace(connector, tiling=tiling, tiling_options=tiling_options)
        if method in ("pool", "pixel_shuffle", "mlp"):
            yield reduction, replace(connector, tiling="plain", tiling_options={}, scales=(1, 2))
