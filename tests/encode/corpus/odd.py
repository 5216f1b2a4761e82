"""Whole files of unusual make: animations, pages, broken profiles, trailing bytes, wrong suffixes, extreme sizes."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, features

from encode.corpus.cases import Case, Pixels, whole
from encode.corpus.writers import (
    HEIGHT,
    QUARTERS,
    WIDTH,
    chunk,
    png,
    quarters,
    saved,
    tiff,
    with_segment,
)

_END = chunk(b"IEND", b"")
_RED, _BLUE, _WHITE = (250, 0, 0), (0, 0, 250), (255, 255, 255)


def _quarters(make: Callable[[], bytes], *, tolerance: int = 0) -> Case:
    return whole(make, HEIGHT, WIDTH, QUARTERS, tolerance=tolerance)


def jpeg(mark: int, **options: object) -> bytes:
    """The four quarters as a JPEG file."""
    return saved(quarters(mark), "JPEG", **{"quality": 95, "subsampling": 0, **options})


def moving(kind: str, **options: object) -> bytes:
    """A red frame, then a blue one."""
    frames = [Image.new("RGB", (20, 10), colour) for colour in (_RED, _BLUE)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options)


def _small_first_frame() -> bytes:
    """A GIF of 20 x 30 px whose first frame fills 10 x 10 px at (5, 5); the rest shows what is behind the page."""
    plain = saved(Image.new("P", (10, 10), 1), "GIF", palette=bytes([0, 0, 250, 250, 0, 0]), optimize=False)
    at = plain.index(b",")
    place = struct.pack("<HHHH", 5, 5, 10, 10)
    screen = struct.pack("<HH", 30, 20)
    transparent = b"!\xf9\x04\x01\0\0\0\0"
    head = plain[:6] + screen + plain[10:at].replace(b"!\xf9\x04", b"!\xfe\x04")
    return head.replace(b"GIF87a", b"GIF89a") + transparent + plain[at : at + 1] + place + plain[at + 9 :]


def _phone() -> bytes:
    """Two pictures in one JPEG file, as phones write: the first is what a person sees."""
    return saved(
        Image.fromarray(quarters(40)), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))], quality=95,
        subsampling=0,
    )  # fmt: skip


def _apng_with_another_first_picture() -> bytes:
    """An animated PNG whose plain picture, which comes first, is not part of the animation."""
    return moving("PNG", default_image=True)


def _bmp_from_the_top() -> bytes:
    """Windows bitmaps begin with the lowest row, unless the height is negative."""
    rows = quarters(41)[:, :, ::-1]
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, -HEIGHT, 1, 24, 0, rows.size, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + rows.size, 0, 0, 54) + header + rows.tobytes()


def _pages() -> bytes:
    return saved(Image.fromarray(quarters(42)), "TIFF", save_all=True, append_images=[Image.new("L", (3, 3))])


def _packed_tiff(compression: str, mark: int) -> bytes:
    return saved(quarters(mark), "TIFF", compression=compression)


def _png_of_small_chunks() -> bytes:
    plain = png(quarters(43))
    at = plain.index(b"IDAT")
    (size,) = struct.unpack(">I", plain[at - 4 : at])
    data = plain[at + 4 : at + 4 + size]
    parts = [chunk(b"IDAT", data[start : start + 7]) for start in range(0, size, 7)]
    return plain[: at - 4] + b"".join([chunk(b"IDAT", b""), *parts]) + _END


def _ring_of_pages() -> bytes:
    """The directory of the first page says that the next page is the first one."""
    data = tiff(quarters(75), photometric=2)
    (at,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[at : at + 2])
    end = at + 2 + 12 * count
    return data[:end] + data[4:8] + data[end + 4 :]


def _line(height_px: int, width_px: int, make: Callable[[], bytes]) -> Case:
    ends: Pixels = {(0, 0): _RED, (height_px - 1, width_px - 1): _BLUE}
    return whole(make, height_px, width_px, ends)


def _long(height_px: int, width_px: int) -> np.ndarray:
    pixels = np.zeros((height_px, width_px, 3), np.uint8)
    pixels[0, 0], pixels[-1, -1] = _RED, _BLUE
    return pixels


def _dot(kind: str, value: int) -> Case:
    image = Image.new("L", (1, 1), value)
    return whole(lambda: saved(image, kind), 1, 1, {(0, 0): (value,) * 3}, tolerance=3)


def _icc(data: bytes, *, mark: int) -> bytes:
    return with_segment(jpeg(mark), 0xE2, b"ICC_PROFILE\0" + data)


def _scanline_damage() -> bytes:
    """Flip bits in the coded pixels. A JPEG decoder cannot tell that from a picture of noise."""
    data = bytearray(jpeg(44))
    at = data.rindex(b"\xff\xda") + 40
    data[at] ^= 0x55
    return bytes(data)


CASES: dict[str, Case] = {
    "moving.gif": whole(lambda: moving("GIF"), 10, 20, {(5, 5): _RED}),
    "moving.webp": whole(lambda: moving("WEBP", lossless=True), 10, 20, {(5, 5): _RED}),
    "moving.png": whole(lambda: moving("PNG"), 10, 20, {(5, 5): _RED}),
    "moving-later.png": whole(_apng_with_another_first_picture, 10, 20, {(5, 5): _RED}),
    "moving-cut-in-frame-2.gif": whole(lambda: moving("GIF")[:-12], 10, 20, {(5, 5): _RED}),
    "small-first-frame.gif": whole(_small_first_frame, 20, 30, {(10, 10): _RED, (1, 1): _WHITE}),
    "pages.tif": _quarters(_pages),
    "phone.jpg": _quarters(_phone, tolerance=10),
    "progressive.jpg": _quarters(lambda: jpeg(45, progressive=True), tolerance=10),
    "restarts.jpg": _quarters(lambda: jpeg(46, restart_marker_blocks=1), tolerance=10),
    "subsampled.jpg": _quarters(lambda: jpeg(47, subsampling=2), tolerance=20),
    "trailing-garbage.jpg": _quarters(lambda: jpeg(48) + b"\0garbage\xff\xd9" * 99, tolerance=10),
    "two-in-one.jpg": _quarters(lambda: jpeg(49) + saved(Image.new("RGB", (9, 9)), "JPEG"), tolerance=10),
    "long-comment.jpg": _quarters(lambda: with_segment(jpeg(50), 0xFE, b"x" * 65_000), tolerance=10),
    "more-pictures-garbage.jpg": _quarters(
        lambda: with_segment(jpeg(77), 0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"), tolerance=10
    ),
    "photoshop-garbage.jpg": _quarters(
        lambda: with_segment(jpeg(78), 0xED, b"Photoshop 3.0\x008BIM\x03\xed\xff\xff\xff\xff"), tolerance=10
    ),
    "flipped-bits.jpg": whole(_scanline_damage, HEIGHT, WIDTH),
    "interlaced.png": _quarters(lambda: png(quarters(51), is_interlaced=True)),
    "many-chunks.png": _quarters(_png_of_small_chunks),
    "trailing-garbage.png": _quarters(lambda: png(quarters(52)) + b"garbage" * 99),
    "unknown-chunk.png": _quarters(lambda: png(quarters(53), before=chunk(b"zzZz", b"whatever"))),
    "no-end.png": _quarters(lambda: png(quarters(54)).removesuffix(_END)),
    "icc-garbage.png": _quarters(
        lambda: png(quarters(55), before=chunk(b"iCCP", b"name\0\0" + zlib.compress(b"no profile")))
    ),
    "icc-not-packed.png": _quarters(lambda: png(quarters(56), before=chunk(b"iCCP", b"name\0\0not zlib"))),
    "icc-garbage.jpg": _quarters(lambda: _icc(b"\1\1no profile", mark=57), tolerance=10),
    "icc-part-missing.jpg": _quarters(lambda: _icc(b"\2\3part of a profile", mark=58), tolerance=10),
    "icc-garbage.webp": _quarters(lambda: saved(quarters(59), "WEBP", lossless=True, icc_profile=b"no profile")),
    "icc-garbage.tif": _quarters(lambda: saved(quarters(60), "TIFF", icc_profile=b"no profile")),
    "from-the-top.bmp": _quarters(_bmp_from_the_top),
    "lzw.tif": _quarters(lambda: _packed_tiff("tiff_lzw", 61)),
    "deflate.tif": _quarters(lambda: _packed_tiff("tiff_adobe_deflate", 62)),
    "jpeg.tif": _quarters(lambda: _packed_tiff("jpeg", 63), tolerance=30),
    "big-endian.tif": _quarters(lambda: tiff(quarters(64), photometric=2, order=">")),
    "ring-of-pages.tif": _quarters(_ring_of_pages),
    "exif-directory-is-itself.tif": _quarters(
        lambda: tiff(quarters(76), photometric=2, tags=((34_665, 8 + 32 * 48 * 3),))
    ),
    "big.tif": _quarters(lambda: saved(quarters(65), "TIFF", big_tiff=True)),
    "lossless.webp": _quarters(lambda: saved(quarters(66), "WEBP", lossless=True)),
    "png-in-truth.jpg": _quarters(lambda: png(quarters(67))),
    "jpeg-in-truth.png": _quarters(lambda: jpeg(68), tolerance=10),
    "webp-in-truth.gif": _quarters(lambda: saved(quarters(69), "WEBP", lossless=True)),
    "gif-in-truth.tif": whole(lambda: moving("GIF", comment=b"not a TIFF"), 10, 20, {(5, 5): _RED}),
    "bmp-in-truth.webp": _quarters(lambda: saved(quarters(70), "BMP")),
    "SHOUTED.JPG": _quarters(lambda: jpeg(71), tolerance=10),
    "1x20000.png": _line(1, 20_000, lambda: png(_long(1, 20_000))),
    "20000x1.png": _line(20_000, 1, lambda: png(_long(20_000, 1))),
    "1x20000.jpg": whole(lambda: saved(_long(1, 20_000), "JPEG"), 1, 20_000),
    "20000x1.tif": _line(20_000, 1, lambda: tiff(_long(20_000, 1), photometric=2)),
    "1x1.png": _dot("PNG", 11),
    "1x1.jpg": _dot("JPEG", 12),
    "1x1.gif": _dot("GIF", 13),
    "1x1.bmp": _dot("BMP", 14),
    "1x1.tif": _dot("TIFF", 15),
    "1x1.webp": _dot("WEBP", 16),
}
if features.check("jpg_2000"):
    CASES["picture.jp2"] = _quarters(lambda: saved(quarters(72), "JPEG2000"))
if features.check("avif"):
    CASES["picture.avif"] = _quarters(
        lambda: saved(quarters(73), "AVIF", quality=100, subsampling="4:4:4"), tolerance=10
    )
