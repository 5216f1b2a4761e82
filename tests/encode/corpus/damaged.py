"""Files that were pictures once, or pretend to be: cut, corrupt, without pixels, or far too large when unpacked."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from encode.corpus.cases import Case, refused, whole
from encode.corpus.odd import jpeg, moving
from encode.corpus.writers import (
    HEIGHT,
    PNG_MAGIC,
    QUARTERS,
    WIDTH,
    chunk,
    noise,
    png,
    png_header,
    png_of,
    quarters,
    saved,
    segment,
    tiff,
)

_DAMAGED = "truncated or damaged: "
_BEGINS = _DAMAGED + "it begins like a {} file, but its header cannot be read$"
_BOMB = r"[\d,]+ pixels (\(\d+ x \d+ px\) )?are more than .*decompression bombs?"
_KINDS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP", "tif": "TIFF", "bmp": "BMP"}
_PACKED = b"".join(b"\0" + bytes(30) for _ in range(10))
"""The rows of a black picture of 10 x 10 px."""


def _cut(kind: str, keep: float) -> bytes:
    data = saved(noise(60, 80, seed=round(1000 * keep)), kind)
    return data[: round(len(data) * keep)]


def _changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _in_chunk(kind: bytes, skip: int, new: bytes, *, mark: int) -> bytes:
    """Overwrite bytes behind the name of a PNG chunk."""
    data = png(quarters(mark))
    return _changed(data, data.index(kind) + 4 + skip, new)


def _zeros(count: int) -> bytes:
    """Pack a great many zeros into a thousandth of the bytes."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join([*(packer.compress(block) for _ in range(count >> 20)), packer.flush()])


def _jpeg_header(height_px: int, width_px: int, *, marker: int = 0xC0) -> bytes:
    planes = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    frame = segment(marker, struct.pack(">BHHB", 8, height_px, width_px, 3) + planes)
    table = segment(0xDB, bytes([0, *[1] * 64]))
    return b"\xff\xd8" + table + frame + segment(0xDA, b"\3\1\0\2\0\3\0\0\x3f\0") + bytes(99) + b"\xff\xd9"


def _gif(height_px: int, width_px: int, *, mark: int) -> bytes:
    return _changed(saved(Image.new("L", (4, 4), mark), "GIF"), 6, struct.pack("<HH", width_px, height_px))


def _gif_with_a_giant_frame() -> bytes:
    data = saved(Image.new("L", (4, 4), 90), "GIF")
    return _changed(data, data.index(b",") + 5, struct.pack("<HH", 60_000, 60_000))


def _bmp(height_px: int, width_px: int) -> bytes:
    return _changed(saved(quarters(91), "BMP"), 18, struct.pack("<ii", width_px, height_px))


def _webp(height_px: int, width_px: int) -> bytes:
    canvas = (width_px - 1).to_bytes(3, "little") + (height_px - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 40) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + bytes(18)


def _jp2(height_px: int, width_px: int) -> bytes:
    """The bare beginning of a JPEG 2000 picture in one tile."""
    sizes = (width_px, height_px, 0, 0, width_px, height_px, 0, 0)
    return b"\xff\x4f\xff\x51" + struct.pack(">HH8IH", 47, 0, *sizes, 3) + b"\7\1\1" * 3


def _tiff(*tags: tuple[int, int], mark: int) -> bytes:
    return tiff(quarters(mark), photometric=2, tags=tags)


def _tiled(packing: int, side_px: int) -> bytes:
    """A small picture in one tile that says of itself that it is giant."""
    tags = ((259, packing), (322, side_px), (323, side_px), (324, 8), (325, 16))
    return tiff(np.full((4, 4), 116, np.uint8), photometric=1, tags=tags)


def _with_a_flipped_byte() -> bytes:
    """One wrong byte among pixels that are stored as they are, with the checksum of the chunk made to fit."""
    data = bytearray(zlib.compress(_PACKED, 0))
    data[50] ^= 0xFF
    return png_of(png_header(10, 10), chunk(b"IDAT", bytes(data)))


def _dropped(data: bytes, marker: int) -> bytes:
    """Take a segment out of a JPEG file."""
    at = data.index(bytes([0xFF, marker]))
    return data[:at] + data[at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0] :]


def _of_png(*chunks: bytes) -> Callable[[], bytes]:
    return lambda: png_of(*chunks)


_CUT: dict[str, Case] = {
    f"cut-at-{keep * 100:g}-percent.{suffix}": refused(lambda kind=kind, keep=keep: _cut(kind, keep), _DAMAGED)
    for suffix, kind in _KINDS.items()
    for keep in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
}

_BOMBS: dict[str, Case] = {
    "bomb-in-header.png": refused(_of_png(png_header(60_000, 60_000), chunk(b"IDAT", zlib.compress(b"\0"))), _BOMB),
    "bomb-above-our-limit.png": refused(
        lambda: png_of(png_header(9_500, 9_500), chunk(b"IDAT", _zeros(64 << 20))), _BOMB
    ),
    "bomb.gif": refused(lambda: _gif(65_535, 65_535, mark=80), _BOMB),
    "bomb-in-frame.gif": refused(_gif_with_a_giant_frame, _BOMB),
    "bomb.bmp": refused(lambda: _bmp(60_000, 60_000), _BOMB),
    "bomb.tif": refused(lambda: _tiff((256, 60_000), (257, 60_000), (278, 60_000), mark=81), _BOMB),
    "bomb-in-tile.tif": refused(lambda: _tiled(1, 1 << 20), f"tiles of {_BOMB}"),
    "bomb-in-packed-tile.tif": refused(lambda: _tiled(8, 1 << 15), f"tiles of {_BOMB}"),
    "bomb-in-strip.tif": refused(lambda: _tiff((259, 8), (278, 0x7FFFFFFF), mark=118), _DAMAGED),
    "bomb.jp2": refused(lambda: _jp2(60_000, 60_000), _BOMB),
    "bomb.jpg": refused(lambda: _jpeg_header(65_500, 65_500), _BOMB),
    "bomb.webp": refused(lambda: _webp(16_000, 16_000), _BOMB),
    "bomb.pgm": refused(lambda: b"P5 60000 60000 255\n" + bytes(99), _BOMB),
    "bomb-behind-the-pixels.png": whole(
        lambda: png_of(png_header(10, 10), chunk(b"IDAT", _zeros(64 << 20))), 10, 10, {(9, 9): (0, 0, 0)}
    ),
    "bomb-in-profile.png": refused(
        lambda: png_of(png_header(5, 5), chunk(b"iCCP", b"name\0\0" + _zeros(64 << 20))),
        "its text or colour profile unpacks to more than .*decompression bomb",
    ),
    "bomb-in-text.png": refused(
        lambda: png_of(png_header(4, 4), chunk(b"zTXt", b"comment\0\0" + _zeros(64 << 20))),
        "its text or colour profile unpacks to more than .*decompression bomb",
    ),
}

CASES: dict[str, Case] = {
    **_CUT,
    **_BOMBS,
    "zero-bytes.jpg": refused(lambda: b"", r"the file is empty \(0 bytes\)$"),
    "one-byte.jpg": refused(lambda: b"\xff", "not an image in a known format"),
    "only-magic.png": refused(lambda: PNG_MAGIC, _BEGINS.format("PNG")),
    "only-magic.jpg": refused(lambda: b"\xff\xd8", _BEGINS.format("JPEG")),
    "only-magic.gif": refused(lambda: b"GIF89a", _BEGINS.format("GIF")),
    "only-magic.bmp": refused(lambda: b"BM", _BEGINS.format("BMP")),
    "only-magic.tif": refused(lambda: b"II*\0", _BEGINS.format("TIFF")),
    "only-magic-big-endian.tif": refused(lambda: b"MM\0*", _BEGINS.format("TIFF")),
    "only-magic.webp": refused(lambda: b"RIFF\x40\0\0\0WEBP", _BEGINS.format("WebP")),
    "only-header.png": refused(lambda: PNG_MAGIC + png_header(32, 32), _BEGINS.format("PNG")),
    "no-pixels.png": refused(_of_png(png_header(32, 33)), _DAMAGED),
    "zero-height.png": refused(_of_png(png_header(0, 32), chunk(b"IDAT", b"")), _BEGINS.format("PNG")),
    "7-bits.png": refused(_of_png(png_header(8, 8, bits=7), chunk(b"IDAT", b"")), _BEGINS.format("PNG")),
    "bad-crc-in-header.png": refused(lambda: _in_chunk(b"IHDR", 13, b"\0\0\0\0", mark=100), _BEGINS.format("PNG")),
    "bad-crc-in-pixels.png": whole(
        lambda: _changed(png(quarters(101)), -16, b"\0\0\0\0"), HEIGHT, WIDTH, QUARTERS
    ),
    "bad-sum-in-pixels.png": refused(_with_a_flipped_byte, _DAMAGED),
    "bad-pixels.png": refused(lambda: _in_chunk(b"IDAT", 4, bytes(20), mark=102), _DAMAGED),
    "bad-filter.png": refused(
        _of_png(png_header(1, 2), chunk(b"IDAT", zlib.compress(b"\x09" + bytes(6)))), _DAMAGED
    ),
    "rows-missing.png": whole(
        _of_png(png_header(10, 10), chunk(b"IDAT", zlib.compress(_PACKED[:155]))), 10, 10, {(9, 9): (0, 0, 0)}
    ),
    "no-frame.gif": refused(lambda: saved(Image.new("L", (4, 4)), "GIF")[:13] + b";", _BEGINS.format("GIF")),
    "bad-code.gif": refused(lambda: moving("GIF").replace(b"\x08", b"\xff", 1), _DAMAGED),
    "no-screen.gif": whole(lambda: _gif(0, 0, mark=103), 4, 4, {(0, 0): (103, 103, 103)}),
    "no-tables.jpg": refused(lambda: _dropped(jpeg(104), 0xDB), _DAMAGED),
    "no-size.jpg": refused(lambda: _dropped(jpeg(105), 0xC0), _DAMAGED),
    "no-scan.jpg": refused(lambda: jpeg(106)[: jpeg(106).index(b"\xff\xda")], _DAMAGED),
    "lossless-kind.jpg": refused(lambda: _jpeg_header(16, 16, marker=0xC3), _DAMAGED),
    "zero-size.jpg": refused(lambda: _jpeg_header(0, 0), _DAMAGED),
    "only-zeros-behind-magic.jpg": refused(lambda: b"\xff\xd8\xff" + bytes(999), _BEGINS.format("JPEG")),
    "bad-depth.bmp": refused(lambda: _changed(saved(quarters(107), "BMP"), 28, b"\x11\0"), _DAMAGED),
    "bad-header.bmp": refused(lambda: _changed(saved(quarters(108), "BMP"), 14, b"\xff\xff"), _DAMAGED),
    "directory-beyond-end.tif": refused(lambda: _changed(_tiff(mark=109), 4, b"\xff\xff\xff\x7f"), _DAMAGED),
    "pixels-beyond-end.tif": refused(lambda: _tiff((273, 1 << 30), mark=110), _DAMAGED),
    "unknown-packing.tif": refused(lambda: _tiff((259, 4711), mark=111), _DAMAGED),
    "bad-pixels.tif": refused(lambda: _tiff((259, 5), mark=112), _DAMAGED),
    "zero-width.tif": refused(lambda: _tiff((256, 0), mark=113), _DAMAGED),
    "many-samples.tif": refused(lambda: _tiff((277, 60_000), mark=117), _DAMAGED),
    "chunk-beyond-end.png": refused(
        lambda: PNG_MAGIC + png_header(8, 8) + b"\x7f\xff\xff\xfftEXtcomment", _DAMAGED
    ),
    "no-frames.webp": refused(lambda: _webp(16, 16), _DAMAGED),
    "bad-pixels.webp": refused(lambda: _changed(saved(quarters(114), "WEBP"), 40, b"\xff" * 60), _DAMAGED),
    "shift-by-a-byte.png": refused(lambda: b"\n" + png(quarters(115)), "not an image in a known format"),
}  # fmt: skip
