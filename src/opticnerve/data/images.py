"""Decode a picture to red, green and blue bytes, or say in one line why it cannot be done."""

import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from opticnerve.data.colours import to_rgb
from opticnerve.data.orientation import turn_upright, upright_size_of
from opticnerve.data.unreadable import FORMATS, HEAD_BYTES, is_heic, reason_for, shown_name
from opticnerve.errors import ImageError

MAX_PIXELS = 89_478_485
"""Pixels above which a picture is taken for a decompression bomb: Pillow's own limit, a quarter of a gigabyte."""

_STRIP_PIXELS = 2**18
"""Pixels that are taken from Pillow at once: a megabyte."""
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def decode_image(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> UInt8[Tensor, "3 height width"]:
    """Decode a picture file to red, green and blue.

    The EXIF orientation is applied; broken EXIF data counts as none. Transparent pixels are laid over white. Gray
    becomes three equal channels. 16 bits become 8 by their high byte, so that gray and colour pictures of the same
    values agree. Of an animation the first frame is taken. Colour profiles (ICC) are not applied: CMYK is turned to
    RGB by the plain formula. HEIC is read where the pillow-heif plug-in is installed.

    Args:
        source: a file in one of `FORMATS`, whatever its suffix; or the bytes of one.
        max_pixels: larger pictures are refused before they are decoded. Above twice `PIL.Image.MAX_IMAGE_PIXELS`
            Pillow itself refuses, unless the caller raises that too.

    Returns:
        Bytes from 0 to 255; a view whose memory is (height, width, channels), which resizing and tiling take as it is.

    Raises:
        ImageError: the file is missing, not readable, empty, not an image, damaged or too large, or it has pixels
            without a fixed range (32 bits, signed 16 bits, floating point).
    """
    with _opened(source, max_pixels) as image:
        image.load()
        return _pixels(image)


def pixels_of(image: Image.Image) -> UInt8[Tensor, "3 height width"]:
    """Turn a Pillow image into red, green and blue, by the rules of `decode_image`.

    Args:
        image: an image of any mode; it is left as it is.

    Returns:
        Bytes from 0 to 255; a view whose memory is (height, width, channels).

    Raises:
        ImageError: its file is damaged, its pixels have no fixed range, or its colours need a profile.
    """
    try:
        return _pixels(image)
    except Exception as error:
        raise ImageError(f"an opened {image.format or 'image'}: {reason_for(error, b'')}") from error


def image_size(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read the height and width in pixels that `decode_image` will give, from the file's header.

    Args:
        source: a picture file, or the bytes of one.
        max_pixels: larger pictures are refused.

    Raises:
        ImageError: the file is missing, not readable, empty, not an image or too large.
    """
    with _opened(source, max_pixels) as image:
        return upright_size_of(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Read the height and width in pixels that `pixels_of` will give.

    Args:
        image: an image whose pixels need not be decoded yet.

    Raises:
        ImageError: its file is damaged.
    """
    try:
        return upright_size_of(image)
    except Exception as error:
        raise ImageError(f"an opened {image.format or 'image'}: {reason_for(error, b'')}") from error


@contextmanager
def _opened(source: str | Path | bytes, max_pixels: int) -> Generator[Image.Image]:
    """Open a picture, and turn whatever goes wrong until it is closed into an `ImageError`."""
    head = b""
    try:
        # Pillow warns of broken EXIF data and of large pictures; the size is checked below, against the caller's limit.
        with warnings.catch_warnings(), _file(source) as file:
            warnings.simplefilter("ignore")
            head = file.read(HEAD_BYTES)
            file.seek(0)
            with _image(file, head) as image:
                _check_pixels(image, max_pixels)
                yield image
    except Exception as error:
        name = f"{len(source):,} bytes" if isinstance(source, bytes) else shown_name(Path(source))
        raise ImageError(f"{name}: {reason_for(error, head)}") from error


def _image(file: io.BytesIO | io.BufferedReader, head: bytes) -> Image.Image:
    if is_heic(head) and find_spec("pillow_heif"):
        plugin: Any = import_module("pillow_heif")
        return plugin.HeifImageFile(file)
    return Image.open(file, formats=FORMATS)


def _file(source: str | Path | bytes) -> io.BytesIO | io.BufferedReader:
    if isinstance(source, bytes):
        if not source:
            raise ImageError("the file is empty (0 bytes)")
        return io.BytesIO(source)
    path = Path(source)
    if "\0" in str(path):
        raise ImageError("the name of a file cannot hold a null character")
    if path.is_file() and not path.stat().st_size:
        raise ImageError("the file is empty (0 bytes)")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ImageError("is a device or a pipe, not an image file")
    return path.open("rb")


def _pixels(image: Image.Image) -> Tensor:
    rgb = to_rgb(turn_upright(image))
    pixels = np.empty((rgb.height, rgb.width, 3), np.uint8)
    # Pillow copies what it hands over several times: strip by strip, that stays within a core's cache.
    rows = max(_STRIP_PIXELS // rgb.width, 1)
    for top in range(0, rgb.height, rows):
        bottom = min(top + rows, rgb.height)
        pixels[top:bottom] = np.asarray(rgb.crop((0, top, rgb.width, bottom)))
    return rearrange(torch.from_numpy(pixels), "height width channels -> channels height width")


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    _check_area("", image.height, image.width, max_pixels)
    if isinstance(image, TiffImageFile):  # a whole tile is unpacked, however small the picture is
        tags = cast("dict[int, Any]", image.tag_v2)
        _check_area("tiles of ", int(tags.get(_TILE_LENGTH, 0)), int(tags.get(_TILE_WIDTH, 0)), max_pixels)


def _check_area(what: str, height_px: int, width_px: int, max_pixels: int) -> None:
    pixels = height_px * width_px
    if pixels > max_pixels:
        raise ImageError(
            f"{what}{pixels:,} pixels ({height_px} x {width_px} px) are more than the limit of {max_pixels:,}, which "
            f"guards against decompression bombs: shrink the picture, or raise max_pixels if it can be trusted"
        )
