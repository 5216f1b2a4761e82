"""What fits an encoder where the caller says nothing: sizes of tiles, learned positions, and layers to read."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import signature
from typing import get_type_hints

from pydantic import TypeAdapter, ValidationError

from opticnerve.connectors import METHODS, ConnectorSpec, method
from opticnerve.encoders import EncoderInfo, Layers
from opticnerve.errors import SpecError, UnknownNameError
from opticnerve.tiling import LLAVA_NEXT_PINPOINTS, TILINGS, Tiling, tiling
from opticnerve.views.sight import Sight, largest_scale

_PUBLISHED_PX = 336
"""Side of the tiles that LLaVA-NeXT's canvases are made of."""


def fitting_tiling(
    name: str, info: EncoderInfo, options: Mapping[str, object], *, scales: Sequence[float] = (1,)
) -> Tiling:
    """Build a tiling whose tiles have the encoder's native size, unless the options say otherwise.

    With several scales (S2) they have the size of the largest scale, from which the others are made.

    Args:
        name: a key of `TILINGS`.
        info: what is known of the encoder that will see the tiles.
        options: options of the tiling; they come before what fits.
        scales: S2's multiples of the native size.

    Raises:
        UnknownNameError: no tiling has the name, or the tiling has no such option.
        SpecError: an option has a value that cannot be, or the encoder's images are not square and the tiles are.
    """
    if name not in TILINGS:
        raise UnknownNameError("tiling", name, TILINGS)
    known = [field.name for field in fields(TILINGS[name])]
    for option in options:
        if option not in known:
            raise UnknownNameError(f"option of {name}", option, known)
    given = _typed(name, options)
    fitting = {key: value for key, value in _fitting(name, info, scales).items() if key in known}
    return tiling(name, **{**fitting, **given})


def _typed(name: str, options: Mapping[str, object]) -> dict[str, object]:
    """Read options as the types that they stand for, as `method` does for a connector's."""
    hints = get_type_hints(TILINGS[name])
    typed: dict[str, object] = {}
    for option, value in options.items():
        try:
            typed[option] = TypeAdapter(hints[option]).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise SpecError(f"{name}, {option}: {first['msg']}, got {value!r}") from error
    return typed


def _fitting(name: str, info: EncoderInfo, scales: Sequence[float]) -> dict[str, object]:
    times = largest_scale(tuple(scales))
    native = (*info.native_px, info.step_px, info.patch_px)
    if any(px * times != int(px * times) for px in info.native_px):
        raise SpecError(
            f'at scale {times:g} the {native[0]} x {native[1]} px of encoder "{info.name}" are no whole pixels: '
            f"choose a scale such as 1.5 or 2"
        )
    height, width, step, patch = (int(px * times) for px in native)
    if name == "plain":
        return {"height_px": height, "width_px": width, "multiple_px": step}
    if name == "qwen":
        return {"factor_px": max(step, 2 * patch)}
    if height != width:
        raise SpecError(
            f'tiling "{name}" makes square tiles, but encoder "{info.name}" was trained on {native[0]} x '
            f'{native[1]} px: use tiling "plain"'
        )
    pinpoints = [[side // _PUBLISHED_PX * height for side in size] for size in LLAVA_NEXT_PINPOINTS]
    return {
        "tile_px": height,
        "pinpoints": pinpoints,
        "scales_px": [height, 2 * height, 3 * height],
        "scale_px": height,
        "multiple_px": step,
    }


def fitting_method(name: str, sight: Sight, options: Mapping[str, object]) -> ConnectorSpec:
    """Return a method's connector, with learned positions for the encoder's own grid unless the options say otherwise.

    Args:
        name: a key of `METHODS`.
        sight: how images are seen.
        options: options of the method; they come before what fits.

    Raises:
        UnknownNameError: no such method, or the method has no such option.
        SpecError: an option has a value that does not fit.
    """
    spec = method(name, **options)
    if "pos_grid" not in signature(METHODS[name]).parameters or "pos_grid" in options:
        return spec
    grid = sight.grids(sight.plan(*sight.info.native_px))[0]
    return method(name, **{**options, "pos_grid": (grid.rows, grid.cols)})


def fitting_layers(num_levels: int) -> Layers:
    """Choose the layers for a connector that reads several levels: the last ones, in their order.

    Args:
        num_levels: levels that the connector reads.

    Returns:
        "last" for one level, which is the encoder's finished output; else indices from the end.
    """
    return "last" if num_levels == 1 else tuple(range(-num_levels, 0))
