"""Bring the pixels of a picture, of whatever kind, to 8-bit red, green and blue."""

from typing import Any, cast

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from opticnerve.errors import ImageError

_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO = 0


def to_rgb(image: Image.Image) -> Image.Image:
    """Bring any colour mode to 8-bit RGB. Transparent pixels are laid over white.

    Args:
        image: it is left as it is; its pixels are decoded.

    Returns:
        The image itself where there is nothing to do.

    Raises:
        ImageError: its pixels have no fixed range, or its colours need a profile.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _gray_8_bit(image)
    if image.has_transparency_data:
        image = _with_short_transparent_colour(image)
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode == "LAB":
        raise ImageError('colours in "LAB" cannot be turned to RGB without a colour profile: save it as RGB first')
    return image if image.mode == "RGB" else image.convert("RGB")


def _gray_8_bit(image: Image.Image) -> Image.Image:
    values = np.array(image)
    is_inverted = False
    if isinstance(image, TiffImageFile):
        tags = cast("dict[int, Any]", image.tag_v2)
        if image.mode == "I":
            raise _without_range("signed 16-bit" if tags.get(_BITS_PER_SAMPLE) == (16,) else "32-bit")
        # Pillow inverts such pictures of 8 bits, but not those of 16.
        is_inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if values.dtype.kind == "f":
        raise _without_range("floating-point")
    # PGM and some PNG files of 16 bits arrive as 32-bit integers.
    if int(values.min()) < 0 or int(values.max()) > 65_535:
        raise _without_range("32-bit")
    high = (values >> 8).astype(np.uint8)
    gray = Image.fromarray(255 - high if is_inverted else high)
    transparent = _transparent_colour(image)
    if transparent is not None:
        gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return gray


def _without_range(kind: str) -> ImageError:
    return ImageError(f"{kind} pixels have no fixed range from black to white: save it with 8 or 16 bits first")


def _with_short_transparent_colour(image: Image.Image) -> Image.Image:
    """Pillow keeps the high byte of 16-bit colours, but both bytes of the one colour that stands for transparent."""
    colour = _transparent_colour(image)
    if image.mode != "RGB" or not isinstance(colour, tuple) or max(cast("tuple[int, ...]", colour)) <= 255:
        return image
    image = image.copy()
    image.info["transparency"] = tuple(value >> 8 for value in cast("tuple[int, ...]", colour))
    return image


def _transparent_colour(image: Image.Image) -> object:
    return cast("dict[str, Any]", image.info).get("transparency")
