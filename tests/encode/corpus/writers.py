"""Write PNG, TIFF and JPEG files byte by byte, so that they can be made in ways that Pillow refuses to write."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

HEIGHT, WIDTH = 32, 48
QUARTERS = {(8, 12): (200, 30, 40), (8, 36): (30, 180, 60), (24, 12): (40, 60, 200), (24, 36): (230, 220, 40)}
"""Colours of the four quarters of `quarters`, at the middle of each."""

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def quarters(mark: int) -> np.ndarray:
    """Four quarters of different colours. The mark is a gray corner, so that no two files are the same."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for (row, col), colour in QUARTERS.items():
        pixels[row - 8 : row + 8, col - 12 : col + 12] = colour
    pixels[:2, :2] = mark
    return pixels


def noise(height_px: int, width_px: int, *, seed: int = 0) -> Image.Image:
    """Noise, which no format packs well."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height_px, width_px, 3), dtype=np.uint8))


def saved(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    """The bytes of a file as Pillow writes it."""
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes, *, crc: int | None = None) -> bytes:
    """One chunk of a PNG file."""
    return (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)
    )


def png_header(height_px: int, width_px: int, *, bits: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    """The first chunk of a PNG file."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, bits, colour, 0, 0, interlace))


def png_of(*chunks: bytes) -> bytes:
    """A PNG file of chunks, and its end."""
    return PNG_MAGIC + b"".join(chunks) + chunk(b"IEND", b"")


def png(pixels: np.ndarray, *, before: bytes = b"", colour: int | None = None, is_interlaced: bool = False) -> bytes:
    """Write an array of (height, width) or (height, width, channels), 8 or 16 bits, without filters."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    bits = 8 * pixels.dtype.itemsize
    header = png_header(
        *pixels.shape[:2],
        bits=bits,
        colour=_COLOUR_TYPES[pixels.shape[2]] if colour is None else colour,
        interlace=int(is_interlaced),
    )
    steps = _ADAM7 if is_interlaced else ((0, 0, 1, 1),)
    passes = [pixels[row::rows, col::cols] for row, col, rows, cols in steps]
    data = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for each in passes if each.size for row in each)
    return png_of(header, before, chunk(b"IDAT", zlib.compress(data, 9)))


def tiff(pixels: np.ndarray, *, photometric: int, order: str = "<", tags: tuple[tuple[int, int], ...] = ()) -> bytes:
    """Write an array of (height, width) or (height, width, channels) of any type of number, in one strip.

    Args:
        pixels: the numbers as they are to stand in the file.
        photometric: what they mean: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK, 8 LAB.
        order: "<" for little-endian, ">" for big-endian.
        tags: more tags with one short number each, or others in place of what is written here.
    """
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    height, width, channels = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    sample_format = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    single = {256: width, 257: height, 259: 1, 262: photometric, 273: 8, 277: channels, 278: height, **dict(tags)}
    entries = {tag: ("I", [value]) for tag, value in {279: len(data), **single}.items()}
    entries[258] = ("H", [8 * pixels.dtype.itemsize] * channels)
    entries[339] = ("H", [sample_format] * channels)
    directory_at = 8 + len(data)
    behind_at = directory_at + 2 + 12 * len(entries) + 4
    directory, behind = struct.pack(f"{order}H", len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            place = behind_at + len(behind)
            behind += packed
            packed = struct.pack(f"{order}I", place)
        directory += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + packed.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", directory_at) + data + directory + bytes(4) + behind


def segment(marker: int, data: bytes) -> bytes:
    """One segment of a JPEG file."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """Put a segment at the beginning of a JPEG file."""
    return jpeg[:2] + segment(marker, data) + jpeg[2:]


def exif_block(*entries: tuple[int, int, int, bytes], following: int = 0) -> bytes:
    """An EXIF directory of entries (tag, type, count, value or offset in four bytes), and where the next one is."""
    directory = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + struct.pack("<I", following)


def orientation(value: int) -> tuple[int, int, int, bytes]:
    """The EXIF entry that says how the camera was held."""
    return (0x0112, 3, 1, struct.pack("<HH", value, 0))
