"""Turn a picture as the camera was held, as its EXIF data says."""

import os
import struct
import warnings

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn_upright(image: Image.Image) -> Image.Image:
    """Turn a picture as a person sees it. Broken EXIF data counts as none.

    Args:
        image: it is left as it is; its pixels are decoded.

    Returns:
        A turned copy; the image itself where there is nothing to turn.
    """
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def upright_size_of(image: Image.Image) -> tuple[int, int]:
    """Read the height and width in pixels that `turn_upright` will give.

    Args:
        image: its pixels need not be decoded yet.
    """
    is_turned = _orientation(image) in _TURNED
    return (image.width, image.height) if is_turned else (image.height, image.width)


def _orientation(image: Image.Image) -> int:
    """Read how the camera was held: 1 for upright, up to 8; any other number counts as upright."""
    if image.format == "TIFF":  # Pillow gives the upright size when it opens one, and turns it when it decodes it
        return 1
    is_png = isinstance(image, PngImageFile)
    if is_png and _has_late_text(image):
        image.load()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # For a PNG without EXIF data in its header, its own method would decode all pixels to see what follows.
            exif = Image.Image.getexif(image) if is_png else image.getexif()
            value = exif.get(_ORIENTATION)
    except Exception:  # EXIF data can be broken in many ways; the pixels are whole all the same
        return 1
    return value if isinstance(value, int) else 1


def _has_late_text(image: PngImageFile) -> bool:
    """Tell whether a PNG file has EXIF data or text, which may hold an orientation, behind its pixels."""
    if image.fp is None:  # it is decoded already
        return False
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
