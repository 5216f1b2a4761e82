"""Decode a picture to red, green and blue bytes, or say in one line why it cannot be done."""

import io
import os
import re
import struct
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from opticnerve.errors import ImageError

MAX_PIXELS = 89_478_485
"""Pixels above which a picture is taken for a decompression bomb: Pillow's own limit, a quarter of a gigabyte."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Pillow's names of the formats that are read. PostScript and others that start foreign programs are left out."""

_MAGIC: dict[str, bytes] = {"PNG": b"\x89PNG", "JPEG": b"\xff\xd8", "GIF": b"GIF8", "WebP": b"RIFF", "TIFF": b"II*\0"}
_OS_REASONS = {"FileNotFoundError": "no such file", "IsADirectoryError": "is a folder, not an image file"}
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)


def decode_image(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> UInt8[Tensor, "3 height width"]:
    """Decode a picture file to red, green and blue.

    The EXIF orientation is applied. Transparent pixels are laid over white. Gray becomes three equal channels. 16 bits
    become 8 by their high byte, so that gray and colour pictures of the same values agree. Of an animation the first
    frame is taken. Colour profiles (ICC) are not applied: CMYK is turned to RGB by the plain formula.

    Args:
        source: a file in one of `FORMATS`, whatever its suffix; or the bytes of one.
        max_pixels: larger pictures are refused before they are decoded. Above twice `PIL.Image.MAX_IMAGE_PIXELS`
            Pillow itself refuses, unless the caller raises that too.

    Returns:
        Bytes from 0 to 255; a view whose memory is (height, width, channels), which resizing and tiling take as it is.

    Raises:
        ImageError: the file is missing, not readable, empty, not an image, damaged or too large, or it has pixels
            without a fixed range (32 bits, floating point).
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
        raise ImageError(f"an opened {image.format or 'image'}: {_reason(error, b'')}") from error


def image_size(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read the height and width in pixels that `decode_image` will give, from the file's header.

    Args:
        source: a picture file, or the bytes of one.
        max_pixels: larger pictures are refused.

    Raises:
        ImageError: the file is missing, not readable, empty, not an image or too large.
    """
    with _opened(source, max_pixels) as image:
        return _upright_size(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Read the height and width in pixels that `pixels_of` will give.

    Args:
        image: an image whose pixels need not be decoded yet.

    Raises:
        ImageError: its file is damaged.
    """
    try:
        return _upright_size(image)
    except Exception as error:
        raise ImageError(f"an opened {image.format or 'image'}: {_reason(error, b'')}") from error


def _upright_size(image: Image.Image) -> tuple[int, int]:
    # TIFF pictures are turned when they are opened; the others when they are decoded.
    is_turned = image.format != "TIFF" and _exif(image).get(_ORIENTATION) in _TURNED
    return (image.width, image.height) if is_turned else (image.height, image.width)


def _exif(image: Image.Image) -> Image.Exif:
    """Read EXIF data. For a PNG without any in its header, Pillow would decode all pixels to see what follows them."""
    if isinstance(image, PngImageFile) and not _has_late_text(image):
        return Image.Image.getexif(image)
    return image.getexif()


def _has_late_text(image: PngImageFile) -> bool:
    """Tell whether a PNG file has EXIF data or text, which may hold an orientation, behind its pixels."""
    if image.fp is None:  # it is decoded already
        return True
    place = image.fp.tell()
    try:
        image.fp.seek(8)
        is_behind = False
        while len(head := image.fp.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            is_behind = is_behind or kind == b"IDAT"
            if is_behind and kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            image.fp.seek(size + 4, os.SEEK_CUR)
        return False
    finally:
        image.fp.seek(place)


@contextmanager
def _opened(source: str | Path | bytes, max_pixels: int) -> Generator[Image.Image]:
    """Open a picture, and turn whatever goes wrong until it is closed into an `ImageError`."""
    try:
        # Pillow warns of broken EXIF data and of large pictures; the size is checked below, against the caller's limit.
        with warnings.catch_warnings(), _file(source) as file:
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as image:
                _check_pixels(image.width * image.height, f" ({image.height} x {image.width} px)", max_pixels)
                yield image
    except Exception as error:
        name = f"{len(source):,} bytes" if isinstance(source, bytes) else Path(source)
        raise ImageError(f"{name}: {_reason(error, source)}") from error


def _file(source: str | Path | bytes) -> io.BytesIO | io.BufferedReader:
    if isinstance(source, bytes):
        if not source:
            raise ImageError("the file is empty (0 bytes)")
        return io.BytesIO(source)
    path = Path(source)
    if path.is_file() and not path.stat().st_size:
        raise ImageError("the file is empty (0 bytes)")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ImageError("is a device or a pipe, not an image file")
    return path.open("rb")


def _pixels(image: Image.Image) -> Tensor:
    pixels = np.array(_rgb(ImageOps.exif_transpose(image)))
    return rearrange(torch.from_numpy(pixels), "height width channels -> channels height width")


def _check_pixels(pixels: int, size: str, max_pixels: int) -> None:
    if pixels > max_pixels:
        raise ImageError(
            f"{pixels:,} pixels{size} are more than the limit of {max_pixels:,}, which guards against decompression "
            f"bombs: shrink the picture, or raise max_pixels if it can be trusted"
        )


def _reason(error: Exception, source: str | Path | bytes) -> str:
    """Say in a few words what went wrong. Pillow's plugins raise errors of any kind on damaged files."""
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        pixels, limit = (int(number) for number in re.findall(r"\d+", str(error))[:2])
        return f"{pixels:,} pixels are more than Pillow's limit of {limit:,}: taken for a decompression bomb"
    if isinstance(error, UnidentifiedImageError):
        return _unknown(source)
    if isinstance(error, OSError) and error.strerror:
        return _OS_REASONS.get(type(error).__name__, f"cannot be read: {error.strerror}")
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    detail = " ".join(str(error).split()) or type(error).__name__
    return f"truncated or damaged: {detail}"


def _unknown(source: str | Path | bytes) -> str:
    with _file(source) as file:
        head = file.read(16)
    for name, magic in _MAGIC.items():
        if head.startswith(magic):
            return f"truncated or damaged: it begins like a {name} file, but its header cannot be read"
    return f"not an image in a known format ({', '.join(FORMATS)})"


def _rgb(image: Image.Image) -> Image.Image:
    """Bring any colour mode to 8-bit RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _gray_8_bit(image)
    if image.has_transparency_data:
        _shorten_transparent_colour(image)
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode == "LAB":
        raise ImageError('colours in "LAB" cannot be turned to RGB without a colour profile: save it as RGB first')
    return image.convert("RGB")


def _gray_8_bit(image: Image.Image) -> Image.Image:
    values = np.array(image)
    # PGM and some PNG files of 16 bits arrive as 32-bit integers.
    if values.dtype.kind == "f" or int(values.min()) < 0 or int(values.max()) > 65_535:
        kind = "floating-point" if values.dtype.kind == "f" else "32-bit"
        raise ImageError(f"{kind} pixels have no fixed range from black to white: save it with 8 or 16 bits first")
    gray = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = cast("dict[str, Any]", image.info).get("transparency")
    if transparent is not None:
        gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return gray


def _shorten_transparent_colour(image: Image.Image) -> None:
    """Pillow keeps the high byte of 16-bit colours, but both bytes of the one colour that stands for transparent."""
    colour = cast("dict[str, Any]", image.info).get("transparency")
    if image.mode == "RGB" and isinstance(colour, tuple) and max(cast("tuple[int, ...]", colour)) > 255:
        image.info["transparency"] = tuple(value >> 8 for value in cast("tuple[int, ...]", colour))
