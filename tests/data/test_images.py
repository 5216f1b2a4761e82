"""Every kind of picture is decoded to what a person sees, and every bad file is named with its reason."""

import io
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from opticnerve.data import decode_image, find_images, image_size
from opticnerve.errors import ImageError

VALUES_16 = (0, 128, 255, 256, 257, 32768, 40000, 65535)
HIGH_BYTES = [value >> 8 for value in VALUES_16]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_16(values: tuple[int, ...], *, channels: int, extra: bytes = b"") -> bytes:
    """Write one row of 16-bit pixels, all channels equal, which Pillow itself cannot write."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", len(values), 1, 16, colour, 0, 0, 0)
    row = b"\0" + b"".join(struct.pack(">H", value) * channels for value in values)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def pixels(tensor: torch.Tensor, row: int, col: int) -> tuple[int, ...]:
    return tuple(int(value) for value in tensor[:, row, col])


@pytest.fixture
def gradient() -> Image.Image:
    """A picture whose four corners differ."""
    rows, cols = np.mgrid[0:40, 0:60]
    array = np.stack([rows * 6, cols * 4, np.full_like(rows, 90)], axis=2).astype(np.uint8)
    return Image.fromarray(array)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_a_lossless_rgb_file_comes_back_exactly(tmp_path: Path, gradient: Image.Image, suffix: str):
    path = tmp_path / f"picture.{suffix}"
    gradient.save(path, **({"lossless": True} if suffix == "webp" else {}))
    decoded = decode_image(path)
    assert decoded.dtype == torch.uint8
    assert torch.equal(decoded, torch.from_numpy(np.array(gradient)).permute(2, 0, 1))
    assert image_size(path) == (40, 60)


@pytest.mark.parametrize("suffix", ["jpg", "avif", "jp2"])
def test_a_lossy_file_comes_back_nearly(tmp_path: Path, gradient: Image.Image, suffix: str):
    path = tmp_path / f"picture.{suffix}"
    gradient.save(path)
    wanted = torch.from_numpy(np.array(gradient)).permute(2, 0, 1)
    assert (decode_image(path).float() - wanted.float()).abs().mean() < 6


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = (255, 0, 0)
    stored = {  # how a camera that was held so has stored the upright picture
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert image_size(path) == (32, 48)
    decoded = decode_image(path)
    assert decoded.shape == (3, 32, 48)
    red, other = pixels(decoded, 5, 5), pixels(decoded, 25, 40)
    assert red[0] > 200
    assert other[0] < 60


def test_transparent_pixels_lie_over_white(tmp_path: Path):
    picture = Image.new("RGBA", (3, 1))
    picture.putdata([(255, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 128)])
    picture.save(tmp_path / "a.png")
    decoded = decode_image(tmp_path / "a.png")
    assert pixels(decoded, 0, 0) == (255, 0, 0)
    assert pixels(decoded, 0, 1) == (255, 255, 255)
    assert pixels(decoded, 0, 2) == (127, 127, 127)


def test_gray_with_alpha_lies_over_white(tmp_path: Path):
    picture = Image.new("LA", (2, 1))
    picture.putdata([(10, 255), (10, 0)])
    picture.save(tmp_path / "la.png")
    decoded = decode_image(tmp_path / "la.png")
    assert pixels(decoded, 0, 0) == (10, 10, 10)
    assert pixels(decoded, 0, 1) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_and_black_and_white_become_three_equal_channels(tmp_path: Path, mode: str):
    Image.new("L", (2, 2), 255).convert(mode).save(tmp_path / "gray.png")
    assert (decode_image(tmp_path / "gray.png") == 255).all()


@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_a_colour_that_stands_for_transparent_becomes_white(tmp_path: Path, mode: str):
    key = (0, 0, 0) if mode == "RGB" else 0
    Image.new(mode, (2, 2)).save(tmp_path / "key.png", transparency=key)
    assert (decode_image(tmp_path / "key.png") == 255).all()


def test_cmyk_becomes_rgb(tmp_path: Path):
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "cyan.jpg", quality=100)
    red, green, blue = pixels(decode_image(tmp_path / "cyan.jpg"), 8, 8)
    assert red < 10
    assert green > 245
    assert blue > 245


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_become_8_by_their_high_byte(tmp_path: Path, channels: int):
    path = tmp_path / "deep.png"
    path.write_bytes(png_16(VALUES_16, channels=channels))
    assert decode_image(path)[:, 0].tolist() == [HIGH_BYTES] * 3


@pytest.mark.parametrize("channels", [2, 4])
def test_16_bits_with_alpha_lie_over_white(tmp_path: Path, channels: int):
    path = tmp_path / "deep.png"
    path.write_bytes(png_16((0, 65535), channels=channels))
    assert decode_image(path)[:, 0].tolist() == [[255, 255]] * 3


@pytest.mark.parametrize("channels", [1, 3])
def test_a_16_bit_colour_that_stands_for_transparent_becomes_white(tmp_path: Path, channels: int):
    path = tmp_path / "deep.png"
    key = chunk(b"tRNS", struct.pack(">H", 40000) * channels)
    path.write_bytes(png_16(VALUES_16, channels=channels, extra=key))
    wanted = [255 if value == 40000 else value >> 8 for value in VALUES_16]
    assert decode_image(path)[:, 0].tolist() == [wanted] * 3


def test_16_bit_gray_tiff_and_pgm_are_scaled_too(tmp_path: Path):
    array = np.array([VALUES_16], dtype=np.uint16)
    Image.fromarray(array).save(tmp_path / "deep.tif")
    (tmp_path / "deep.pgm").write_bytes(b"P5 8 1 65535\n" + array.astype(">u2").tobytes())
    for name in ("deep.tif", "deep.pgm"):
        assert decode_image(tmp_path / name)[:, 0].tolist() == [HIGH_BYTES] * 3


def test_a_palette_with_and_without_transparency_is_looked_up(tmp_path: Path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 10, 20, 30, 40, 50])
    picture.putdata([0, 1])
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "hole.png", transparency=1)
    picture.save(tmp_path / "half.png", transparency=bytes([255, 0]))
    assert pixels(decode_image(tmp_path / "plain.png"), 0, 1) == (30, 40, 50)
    for name in ("hole.png", "half.png"):
        decoded = decode_image(tmp_path / name)
        assert pixels(decoded, 0, 0) == (200, 10, 20)
        assert pixels(decoded, 0, 1) == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, suffix: str):
    path = tmp_path / f"moving.{suffix}"
    first, second = Image.new("RGB", (20, 10), (250, 0, 0)), Image.new("RGB", (20, 10), (0, 0, 250))
    first.save(path, save_all=True, append_images=[second])
    red, _, blue = pixels(decode_image(path), 5, 5)
    assert red > 230
    assert blue < 20


def test_a_very_long_picture_is_decoded(tmp_path: Path):
    Image.new("RGB", (10_000, 1)).save(tmp_path / "long.png")
    assert decode_image(tmp_path / "long.png").shape == (3, 1, 10_000)


@pytest.mark.parametrize(("height", "width"), [(700, 900), (3, 300_000), (300_000, 3), (1, 2**18), (513, 512)])
def test_a_picture_of_several_strips_is_decoded_whole(height: int, width: int):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "BMP")
    assert np.array_equal(decode_image(data.getvalue()).permute(1, 2, 0).numpy(), pixels)


def test_resizing_needs_no_copy(tmp_path: Path, gradient: Image.Image):
    gradient.save(tmp_path / "a.png")
    decoded = decode_image(tmp_path / "a.png")
    assert decoded[None].is_contiguous(memory_format=torch.channels_last)


def refused(path: Path, pattern: str, **options: int) -> None:
    """Both functions refuse the file, in one line that begins with its name."""
    with pytest.raises(ImageError, match=f"^{re.escape(str(path))}: {pattern}") as caught:
        decode_image(path, **options)
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


def test_a_missing_file_a_folder_and_an_empty_file_are_named(tmp_path: Path):
    refused(tmp_path / "none.png", "no such file$")
    refused(tmp_path, "is a folder, not an image file$")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", r"the file is empty \(0 bytes\)$")


def test_a_pipe_is_refused_without_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "is a device or a pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path):
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "secret.png").chmod(0)
    refused(tmp_path / "secret.png", "cannot be read: Permission denied$")


def test_a_file_without_permission_says_so_whoever_runs_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "secret.png").write_bytes(b"x")
    monkeypatch.setattr(Path, "open", deny)
    refused(tmp_path / "secret.png", "cannot be read: Permission denied$")


@pytest.mark.parametrize(
    "content", [b"hello, world", b"%PDF-1.7 " * 20, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_not_an_image_is_named_with_the_known_formats(tmp_path: Path, content: bytes):
    (tmp_path / "notes.png").write_bytes(content)
    refused(tmp_path / "notes.png", r"not an image in a known format \(PNG, JPEG, ")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp", "tif", "ppm", "avif", "jp2"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.9])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str, keep: float):
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    refused(path, "(truncated or damaged: |not an image in a known format)")


def test_a_header_that_cannot_be_read_is_told_from_a_wrong_file(tmp_path: Path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff" + bytes(40))
    refused(tmp_path / "cut.jpg", "truncated or damaged: it begins like a JPEG file, but its header cannot be read$")


def test_a_corrupt_file_is_named(tmp_path: Path, gradient: Image.Image):
    path = tmp_path / "bent.png"
    gradient.save(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"IDAT") + 8
    data[at : at + 20] = bytes(20)
    path.write_bytes(bytes(data))
    refused(path, "truncated or damaged: ")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path):
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    refused(tmp_path / "bomb.png", "2,500,000,000 pixels are more than Pillow's limit of 178,956,970")


def test_the_limit_of_pixels_can_be_chosen(tmp_path: Path, gradient: Image.Image):
    path = tmp_path / "a.png"
    gradient.save(path)
    message = r"2,400 pixels \(40 x 60 px\) are more than the limit of 2,399, .* raise max_pixels"
    refused(path, message, max_pixels=2399)
    with pytest.raises(ImageError, match=message):
        image_size(path, max_pixels=2399)
    assert decode_image(path, max_pixels=2400).shape == (3, 40, 60)


def test_between_pillows_warning_and_its_error_our_own_limit_holds(tmp_path: Path):
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 1, 0, 0, 0, 0)
    large = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "large.png").write_bytes(large)
    refused(tmp_path / "large.png", r"100,000,000 pixels \(10000 x 10000 px\) are more than the limit of 89,478,485")


@pytest.mark.parametrize(("dtype", "kind"), [(np.float32, "floating-point"), (np.int32, "32-bit")])
def test_pixels_without_a_fixed_range_are_refused(tmp_path: Path, dtype: type, kind: str):
    path = tmp_path / "wild.tif"
    Image.fromarray(np.array([[0, 1_000_000]], dtype=dtype)).save(path)
    refused(path, f"{kind} pixels have no fixed range from black to white")


def test_lab_is_refused(tmp_path: Path):
    Image.new("LAB", (4, 4)).save(tmp_path / "lab.tif")
    refused(tmp_path / "lab.tif", 'colours in "LAB" cannot be turned to RGB')


def test_broken_exif_data_neither_warns_nor_stops(tmp_path: Path, gradient: Image.Image):
    path = tmp_path / "exif.jpg"
    buffer = io.BytesIO()
    gradient.save(buffer, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\x00\x12")
    path.write_bytes(buffer.getvalue())
    assert decode_image(path).shape == (3, 40, 60)
    assert image_size(path) == (40, 60)


def test_folders_give_their_pictures_in_sorted_order_and_files_themselves(tmp_path: Path):
    for name in ("b.PNG", "a.jpg", "notes.txt", "deep/er/c.webp", ".hidden/x.png", "._a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_images([tmp_path / "notes.txt", tmp_path, tmp_path / "a.jpg", tmp_path / "missing.png"])
    assert found == [tmp_path / name for name in ("notes.txt", "a.jpg", "b.PNG", "deep/er/c.webp", "missing.png")]


def test_a_folder_without_pictures_is_refused(tmp_path: Path):
    with pytest.raises(ImageError, match=r"the folder holds no images\. Known suffixes: \.avif, "):
        find_images([tmp_path])


@pytest.mark.parametrize("place", ["before the pixels", "behind the pixels"])
def test_the_orientation_of_a_png_is_read_wherever_it_stands(tmp_path: Path, place: str):
    exif = Image.Exif()
    exif[0x0112] = 6
    extra = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    whole = png_16(VALUES_16, channels=1, extra=extra)
    if place == "behind the pixels":
        end = chunk(b"IEND", b"")
        whole = png_16(VALUES_16, channels=1).removesuffix(end) + extra + end
    path = tmp_path / "a.png"
    path.write_bytes(whole)
    assert image_size(path) == (8, 1) == tuple(decode_image(path).shape[1:])


def test_the_size_of_a_png_is_read_without_decoding_its_pixels(tmp_path: Path, gradient: Image.Image):
    path = tmp_path / "a.png"
    gradient.save(path)
    path.write_bytes(path.read_bytes()[:80])
    assert image_size(path) == (40, 60)
    with pytest.raises(ImageError, match="truncated or damaged"):
        decode_image(path)


def test_bytes_are_read_as_files_are(tmp_path: Path, gradient: Image.Image):
    path = tmp_path / "a.jpg"
    gradient.save(path)
    assert torch.equal(decode_image(path.read_bytes()), decode_image(path))
    assert image_size(path.read_bytes()) == (40, 60)
    with pytest.raises(ImageError, match="5 bytes: not an image in a known format"):
        decode_image(b"hello")
