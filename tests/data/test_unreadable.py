"""What cannot be decoded is explained, and what a plug-in can read is read."""

import struct
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image, features

from opticnerve.data import decode_image, image_size, pixels_of
from opticnerve.data.unreadable import shown_name
from opticnerve.errors import ImageError

HEIC = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic"


def test_heic_is_read_where_the_plug_in_is_installed(monkeypatch: pytest.MonkeyPatch):
    plugin = ModuleType("pillow_heif")
    plugin.__spec__ = ModuleSpec("pillow_heif", None)
    plugin.HeifImageFile = lambda file: Image.new("RGB", (5, 3), (1, 2, len(file.read())))
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    assert image_size(HEIC) == (3, 5)
    assert decode_image(HEIC)[:, 0, 0].tolist() == [1, 2, len(HEIC)]


def test_heic_without_the_plug_in_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("opticnerve.data.images.find_spec", lambda name: None)
    wanted = (
        r"^24 bytes: HEIC is read with the pillow-heif plug-in only, which is not installed: install it "
        r"\(pip install pillow-heif\), or convert it to JPEG or PNG$"
    )
    for read in (decode_image, image_size):
        with pytest.raises(ImageError, match=wanted):
            read(HEIC)


@pytest.mark.parametrize(
    ("head", "name", "feature"),
    [
        (struct.pack(">I", 20) + b"ftypavif" + bytes(8), "AVIF", "avif"),
        (b"RIFF\x40\0\0\0WEBPVP8?", "WebP", "webp"),
    ],
)
def test_a_format_that_pillow_was_built_without_is_named(
    monkeypatch: pytest.MonkeyPatch, head: bytes, name: str, feature: str
):
    monkeypatch.setattr(features, "check", lambda asked: asked != feature)
    with pytest.raises(ImageError, match=f"{name} cannot be read by this build of Pillow: install Pillow's own wheel"):
        decode_image(head)


def test_a_decoder_that_pillow_was_built_without_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError("decoder jpeg2k not available")

    Image.new("RGB", (4, 4)).save(tmp_path / "a.jp2")
    monkeypatch.setattr(Image, "_getdecoder", refuse)
    with pytest.raises(
        ImageError, match="a.jp2: it cannot be read by this build of Pillow: install Pillow's own wheel"
    ):
        decode_image(tmp_path / "a.jp2")


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (
            struct.pack(">I", 24) + b"ftypcrx " + bytes(4) + b"crx isom",
            "a camera's raw file: convert it to JPEG or PNG",
        ),
        (b"RIFF\x40\0\0\0AVI LIST", "a video: take a frame out of it first"),
        (b"\xc5\xd0\xd3\xc6" + bytes(30), "PostScript: convert it to JPEG or PNG"),
    ],
)
def test_what_was_never_an_image_is_named(head: bytes, what: str):
    with pytest.raises(ImageError, match=rf"not an image in a known format \(.*\) but {what}$"):
        decode_image(head)


def test_a_name_with_a_null_character_is_refused():
    with pytest.raises(ImageError, match=r"^a\\x00b\.png: the name of a file cannot hold a null character$"):
        decode_image("a\0b.png")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("two\nlines.png", r"two\nlines.png"),
        ("bell\a.png", r"bell\x07.png"),
        ("latin\udce9.png", r"latin\udce9.png"),
        ("line\u2028separator.png", r"line\u2028separator.png"),
        ("paragraph\u2029separator.png", r"paragraph\u2029separator.png"),
        ("emoji 👨‍👩‍👧 é 日.png", "emoji 👨‍👩‍👧 é 日.png"),
    ],
)
def test_a_name_is_shown_in_one_line_that_can_be_printed(name: str, shown: str):
    assert shown_name(name) == shown_name(Path(name)) == shown
    shown_name(name).encode()


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_opened_image_is_left_as_it_is(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        image.info["transparency"] = (256, 512, 768)  # as a picture of 16 bits has it
        assert pixels_of(image).flatten(1).T.tolist() == [[255, 255, 255], [4, 5, 6]]
        assert image.info["transparency"] == (256, 512, 768)
        assert image.size == (2, 1)
        assert torch.equal(pixels_of(image), pixels_of(image))
