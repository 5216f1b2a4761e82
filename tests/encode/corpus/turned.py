"""Pictures that a camera stored turned, and broken EXIF data, which must not stop anybody."""

import struct
from collections.abc import Callable

import numpy as np
from PIL import features

from encode.corpus.cases import Case, refused, whole
from encode.corpus.writers import (
    HEIGHT,
    QUARTERS,
    WIDTH,
    chunk,
    exif_block,
    orientation,
    png,
    png_of,
    quarters,
    saved,
    tiff,
    with_segment,
)

_XMP = (
    b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF "
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description tiff:Orientation="6"/></rdf:RDF>'
    b"</x:xmpmeta>"
)
_BEYOND = (0x010F, 2, 200, struct.pack("<I", 60_000))
_OF_UNKNOWN_TYPE = (0x0110, 99, 1, bytes(4))


def stored(value: int, mark: int) -> np.ndarray:
    """The pixels as a camera that was held so has stored them."""
    upright = quarters(mark)
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(turned[value])


def _upright(make: Callable[[], bytes], *, tolerance: int = 10) -> Case:
    return whole(make, HEIGHT, WIDTH, QUARTERS, tolerance=tolerance)


def _jpeg(value: int, mark: int) -> bytes:
    return saved(stored(value, mark), "JPEG", quality=95, subsampling=0)


def _with_exif(block: bytes, *, mark: int, value: int = 1) -> bytes:
    return with_segment(_jpeg(value, mark), 0xE1, b"Exif\0\0" + block)


def _held(value: int) -> Case:
    return _upright(lambda: _with_exif(exif_block(orientation(value)), mark=value, value=value))


def _png_with_late_exif() -> bytes:
    block = chunk(b"eXIf", exif_block(orientation(6)))
    return png(stored(6, 21)).removesuffix(chunk(b"IEND", b"")) + block + chunk(b"IEND", b"")


def _save_turned(kind: str, mark: int, **options: object) -> bytes:
    return saved(stored(6, mark), kind, exif=exif_block(orientation(6)), **options)


CASES: dict[str, Case] = {
    **{f"exif-{value}.jpg": _held(value) for value in range(1, 9)},
    "exif-0.jpg": _upright(lambda: _with_exif(exif_block(orientation(0)), mark=10)),
    "exif-9.jpg": _upright(lambda: _with_exif(exif_block(orientation(9)), mark=11)),
    "exif-text.jpg": _upright(lambda: _with_exif(exif_block((0x0112, 2, 2, b"6\0\0\0")), mark=12)),
    "exif-two-numbers.jpg": _upright(
        lambda: _with_exif(exif_block((0x0112, 3, 2, struct.pack("<HH", 6, 1))), mark=13, value=6)
    ),
    "exif-garbage.jpg": _upright(lambda: _with_exif(b"garbage " * 9, mark=14)),
    "exif-empty.jpg": _upright(lambda: _with_exif(b"", mark=15)),
    "exif-cut.jpg": _upright(lambda: _with_exif(exif_block(orientation(1))[:15], mark=16)),
    "exif-loop.jpg": _upright(lambda: _with_exif(exif_block(orientation(6), following=8), mark=17, value=6)),
    "exif-beyond-its-end.jpg": _upright(lambda: _with_exif(exif_block(_BEYOND, orientation(6)), mark=18, value=6)),
    "exif-of-unknown-type.jpg": _upright(
        lambda: _with_exif(exif_block(_OF_UNKNOWN_TYPE, orientation(6)), mark=19, value=6)
    ),
    "exif-in-xmp.jpg": _upright(lambda: with_segment(_jpeg(6, 20), 0xE1, _XMP)),
    "exif-behind.png": _upright(_png_with_late_exif, tolerance=0),
    "exif-garbage.png": _upright(lambda: png(quarters(22), before=chunk(b"eXIf", b"garbage")), tolerance=0),
    "exif-before.png": _upright(
        lambda: png(stored(6, 23), before=chunk(b"eXIf", exif_block(orientation(6)))), tolerance=0
    ),
    "exif-only.png": refused(
        lambda: png_of(chunk(b"eXIf", exif_block(orientation(6)))), "truncated or damaged: it begins like a PNG file"
    ),
    "exif-6.webp": _upright(lambda: _save_turned("WEBP", 24, lossless=True), tolerance=0),
    "exif-6.tif": _upright(lambda: tiff(stored(6, 25), photometric=2, tags=((0x0112, 6),)), tolerance=0),
    "exif-6-packed.tif": _upright(
        lambda: saved(stored(6, 28), "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 6}), tolerance=0
    ),
    "exif-99.tif": _upright(lambda: tiff(quarters(26), photometric=2, tags=((0x0112, 99),)), tolerance=0),
}
if features.check("avif"):
    CASES["exif-6.avif"] = _upright(lambda: _save_turned("AVIF", 27, quality=100, subsampling="4:4:4"))
