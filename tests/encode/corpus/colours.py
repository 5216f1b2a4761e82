"""Pictures with unusual pixels: deep ones, transparent ones, inks instead of light, few colours."""

import struct

import numpy as np
from PIL import Image

from encode.corpus.cases import Case, Pixels, refused, whole
from encode.corpus.writers import chunk, png, saved, tiff

_DEEP = (0, 255, 256, 32_768, 40_000, 65_535)
_HIGH = tuple(value >> 8 for value in _DEEP)
_WHITE = (255, 255, 255)


def _row(values: tuple[int, ...]) -> Pixels:
    """One row of gray pixels."""
    return {(0, col): (value, value, value) for col, value in enumerate(values)}


def _deep(channels: int, *, mark: int = 0) -> np.ndarray:
    """One row of 16-bit pixels, all channels equal; below it, the mark, so that no two files are the same."""
    row = np.array([_DEEP, [mark] * len(_DEEP)], np.uint16)
    return np.repeat(row[:, :, None], channels, axis=2)


def _with_alpha(colour: np.ndarray) -> np.ndarray:
    """The first row opaque but for its last pixel, the second row transparent."""
    full = np.iinfo(colour.dtype).max
    alpha = np.full((*colour.shape[:2], 1), full, colour.dtype)
    alpha[0, -1] = alpha[1] = 0
    return np.concatenate([colour, alpha], axis=2)


_OVER_WHITE = {**_row((*_HIGH[:-1], 255)), (1, 2): _WHITE}


def _gray(*rows: tuple[int, ...]) -> np.ndarray:
    return np.array(rows, np.uint8)[:, :, None]


def _palette(transparency: int | bytes | None, mark: int) -> bytes:
    picture = Image.new("P", (3, 2))
    picture.putpalette([200, 10, 20, 30, 40, 50, 60, 70, mark])
    picture.putdata([0, 1, 2, 0, 1, 2])
    return saved(picture, "PNG", **({} if transparency is None else {"transparency": transparency}))


def _inks(*colour: int, mode: str = "CMYK", size: int = 16) -> Image.Image:
    return Image.new(mode, (size, size), colour)


def _ycck() -> bytes:
    """Take a CMYK file, whose four planes stand there inverted, and say that they are Y, Cb, Cr and K."""
    plain = saved(_inks(255 - 150, 255 - 128, 255 - 128, 0), "JPEG", quality=100, subsampling=0)
    at = plain.index(b"Adobe") + 11
    return plain[:at] + b"\x02" + plain[at + 1 :]


def _rgb_jpeg() -> bytes:
    """A JPEG file whose three planes are red, green and blue themselves, as the Adobe segment says."""
    return saved(Image.new("RGB", (16, 16), (200, 30, 90)), "JPEG", quality=100, keep_rgb=True)


def _lab() -> bytes:
    return tiff(np.array([[[200, 10, 10]] * 4] * 4, np.uint8), photometric=8)


_NO_PROFILE = 'colours in "LAB" cannot be turned to RGB without a colour profile: save it as RGB first$'
_FIXED = "pixels have no fixed range from black to white: save it with 8 or 16 bits first$"

CASES: dict[str, Case] = {
    "gray-16.png": whole(lambda: png(_deep(1)), 2, 6, _row(_HIGH)),
    "rgb-16.png": whole(lambda: png(_deep(3)), 2, 6, _row(_HIGH)),
    "gray-alpha-16.png": whole(lambda: png(_with_alpha(_deep(1))), 2, 6, _OVER_WHITE),
    "rgba-16.png": whole(lambda: png(_with_alpha(_deep(3))), 2, 6, _OVER_WHITE),
    "gray-16-key.png": whole(
        lambda: png(_deep(1, mark=1), before=chunk(b"tRNS", struct.pack(">H", 40_000))),
        2, 6, _row((*_HIGH[:4], 255, 255)),
    ),
    "gray-16.tif": whole(lambda: tiff(_deep(1), photometric=1), 2, 6, _row(_HIGH)),
    "gray-16-big-endian.tif": whole(lambda: tiff(_deep(1), photometric=1, order=">"), 2, 6, _row(_HIGH)),
    "white-is-zero-16.tif": whole(
        lambda: tiff(_deep(1), photometric=0), 2, 6, _row(tuple(255 - high for high in _HIGH))
    ),
    "white-is-zero.tif": whole(lambda: tiff(_gray((0, 100, 255)), photometric=0), 1, 3, _row((255, 155, 0))),
    "rgb-16.tif": whole(lambda: tiff(_deep(3), photometric=2), 2, 6, _row(_HIGH)),
    "rgba-16.tif": whole(
        lambda: tiff(_with_alpha(_deep(3)), photometric=2, tags=((338, 2),)), 2, 6, _OVER_WHITE
    ),
    "gray-16.pgm": whole(lambda: b"P5 6 2 65535\n" + _deep(1).astype(">u2").tobytes(), 2, 6, _row(_HIGH)),
    "rgb-16.ppm": whole(lambda: b"P6 6 2 65535\n" + _deep(3).astype(">u2").tobytes(), 2, 6, _row(_HIGH), tolerance=1),
    "gray-10.pgm": whole(lambda: b"P5 2 1 1023\n" + struct.pack(">HH", 0, 1023), 1, 2, _row((0, 255))),
    "black-and-white.pbm": whole(lambda: b"P1 2 1\n1 0\n", 1, 2, _row((0, 255))),
    "gray.png": whole(lambda: png(_gray((7, 77, 177))), 1, 3, _row((7, 77, 177))),
    "gray-alpha.png": whole(
        lambda: png(_with_alpha(_gray((10, 20, 30), (1, 2, 3)))), 2, 3, {**_row((10, 20, 255)), (1, 0): _WHITE}
    ),
    "gray-alpha.tif": whole(
        lambda: tiff(_with_alpha(_gray((10, 20, 30), (1, 2, 3))), photometric=1, tags=((338, 2),)),
        2, 3, {**_row((10, 20, 255)), (1, 0): _WHITE},
    ),
    "gray-premultiplied.tif": whole(
        lambda: tiff(np.array([[[10, 255], [0, 0], [50, 128]]], np.uint8), photometric=1, tags=((338, 1),)),
        1, 3, _row((10, 255, 177)), tolerance=1,
    ),
    "rgb-premultiplied.tif": whole(
        lambda: tiff(np.array([[[10, 20, 30, 255], [0, 0, 0, 0]]], np.uint8), photometric=2, tags=((338, 1),)),
        1, 2, {(0, 0): (10, 20, 30), (0, 1): _WHITE},
    ),
    "half-transparent.png": whole(
        lambda: png(np.array([[[0, 0, 0, 128], [255, 0, 0, 0]]], np.uint8)), 1, 2, _row((127, 255))
    ),
    "colour-key.png": whole(
        lambda: png(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8), before=chunk(b"tRNS", b"\0\1\0\2\0\3")),
        1, 2, {(0, 0): _WHITE, (0, 1): (4, 5, 6)},
    ),
    "palette.png": whole(lambda: _palette(None, 80), 2, 3, {(0, 0): (200, 10, 20), (1, 2): (60, 70, 80)}),
    "palette-hole.png": whole(lambda: _palette(1, 81), 2, 3, {(0, 0): (200, 10, 20), (0, 1): _WHITE}),
    "palette-alpha.png": whole(
        lambda: _palette(bytes([255, 0, 128]), 82), 2, 3,
        {(0, 0): (200, 10, 20), (0, 1): _WHITE, (0, 2): (157, 162, 168)}, tolerance=1,
    ),
    "1-bit.png": whole(lambda: saved(Image.new("1", (9, 3), 1), "PNG"), 3, 9, {(1, 4): _WHITE}),
    "1-bit.tif": whole(
        lambda: saved(Image.new("1", (9, 5), 1), "TIFF", compression="group4"), 5, 9, {(1, 4): _WHITE}
    ),
    "cmyk.jpg": whole(
        lambda: saved(_inks(255, 0, 0, 0), "JPEG", quality=100), 16, 16, {(8, 8): (0, 255, 255)}, tolerance=4
    ),
    "ycck.jpg": whole(_ycck, 16, 16, {(8, 8): (105, 105, 105)}, tolerance=4),
    "cmyk.tif": whole(lambda: saved(_inks(0, 255, 0, 0), "TIFF"), 16, 16, {(8, 8): (255, 0, 255)}),
    "rgb-planes.jpg": whole(_rgb_jpeg, 16, 16, {(8, 8): (200, 30, 90)}, tolerance=4),
    "gray.jpg": whole(
        lambda: saved(Image.new("L", (16, 16), 66), "JPEG", quality=100), 16, 16, {(8, 8): (66, 66, 66)}, tolerance=2
    ),
    "lab.tif": refused(_lab, _NO_PROFILE),
    "float-32.tif": refused(lambda: tiff(np.ones((4, 4), np.float32), photometric=1), f"floating-point {_FIXED}"),
    "uint-32.tif": refused(lambda: tiff(np.full((4, 4), 9, np.uint32), photometric=1), f"32-bit {_FIXED}"),
    "int-16.tif": refused(lambda: tiff(np.full((4, 4), 9, np.int16), photometric=1), f"signed 16-bit {_FIXED}"),
}  # fmt: skip
