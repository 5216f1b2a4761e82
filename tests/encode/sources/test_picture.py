"""Pictures are read where they lie, whole or at their ends, and what cannot be read is said in one line."""

import os
from pathlib import Path

import pytest

from opticnerve.encode.sources.picture import Picture, ends_of, picture_of_file, read_file, read_file_ends, read_part
from opticnerve.errors import ImageError


def test_the_ends_of_a_file_are_the_ends_of_its_bytes(tmp_path: Path):
    path = tmp_path / "a.jpg"
    for length in (0, 1, 8191, 8192, 8193, 20_000):
        data = os.urandom(length)
        path.write_bytes(data)
        picture = picture_of_file(path, "a")
        assert picture == Picture(id="a", path=str(path), offset=0, num_bytes=length)
        assert read_file(picture) == data
        assert read_file_ends(picture) == ends_of(data)
        assert len(ends_of(data)) == min(length, 8192)


def test_what_is_no_file_is_described_and_cannot_be_read(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in [
        ("pipe.jpg", "is a folder, a device or a pipe, not an image file"),
        ("folder.jpg", "is a folder, a device or a pipe, not an image file"),
        ("gone.jpg", "no such file"),
        ("x" * 300, "cannot be read: File name too long"),
        ("a\0b", "cannot be read: .*null"),
    ]:
        picture = Picture(id=name, path=str(tmp_path / name), offset=0, num_bytes=None)
        with pytest.raises(ImageError, match=f"^{reason}"):
            read_file(picture)
    assert picture_of_file(tmp_path / "pipe.jpg", "p").num_bytes is None
    assert picture_of_file(tmp_path / "gone.jpg", "p").num_bytes is None


def test_an_address_and_a_name_that_is_not_utf_8_say_what_to_do(tmp_path: Path):
    (tmp_path / os.fsdecode(b"a\xff.jpg")).write_bytes(b"x")
    picture = picture_of_file(tmp_path / os.fsdecode(b"a\xff.jpg"), os.fsdecode(b"a\xff.jpg"))
    assert picture.id == r"a\udcff.jpg"
    with pytest.raises(ImageError, match="^no such file: its name is not UTF-8. Rename it$"):
        read_file(picture)
    with pytest.raises(ImageError, match="^is an address, and images are read from files: download it first$"):
        read_part("https://there/a.jpg", 0, None)


def test_a_file_that_ends_too_early_says_so(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(bytes(100))
    with pytest.raises(ImageError, match=r"a.tar ends in the middle of it: 10 of 20 bytes are there"):
        read_part(str(tmp_path / "a.tar"), 90, 20)
