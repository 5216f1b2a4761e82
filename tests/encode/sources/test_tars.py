"""Images in tar files are read where they lie; damage is one more picture that cannot be read."""

import os
from pathlib import Path

import pytest

from encode.sources.files import opened, write, write_tar
from opticnerve.encode.sources import open_pictures
from opticnerve.encode.sources.picture import NamedSource, ends_of
from opticnerve.errors import DataError, ImageError

MEMBERS = [("a/1.jpg", b"one"), ("a/1.json", b"{}"), ("./a/2.PNG", b"two" * 5000), ("._x.jpg", b"no"), ("3.webp", b"3")]


def test_images_of_many_tar_files_are_read_in_order(tmp_path: Path):
    for name in ("s-008", "s-009", "s-010"):
        write_tar(tmp_path / f"x/{name}.tar", [(member, name.encode() + data) for member, data in MEMBERS])
    expected = {
        f"{name}.tar/{member}": name.encode() + data
        for name in ("s-008", "s-009", "s-010")
        for member, data in (MEMBERS[0], MEMBERS[2], MEMBERS[4])
    }
    assert opened(f"{tmp_path}/x/s-{{008..010}}.tar") == expected
    assert opened(f"{tmp_path}/x/*.tar") == expected
    assert opened(tmp_path / "x") == expected
    assert opened(f"{tmp_path}/*/s-*.tar") == {f"x/{key}": data for key, data in expected.items()}
    assert list(opened(tmp_path / "x/s-009.tar")) == list(expected)[3:6]


def test_offset_and_length_say_where_the_bytes_lie(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", MEMBERS)
    source = open_pictures([str(path)])
    assert isinstance(source, NamedSource)
    for picture, (_, data) in zip(source.pictures(), (MEMBERS[0], MEMBERS[2], MEMBERS[4]), strict=True):
        assert picture.num_bytes == len(data)
        assert path.read_bytes()[picture.offset :][: len(data)] == data
        assert source.read_ends(picture) == ends_of(data)


def test_members_of_one_name_have_different_ids(tmp_path: Path):
    write_tar(tmp_path / "a.tar", [("1.jpg", b"old"), ("2.jpg", b"2"), ("1.jpg", b"new")])
    found = opened(tmp_path / "a.tar")
    assert list(found.values()) == [b"old", b"2", b"new"]
    assert list(found)[2].startswith("a.tar/1.jpg@")


@pytest.mark.parametrize("cut", ["in a member", "in a header", "garbage in a header"])
def test_what_is_before_the_damage_is_read_and_the_damage_is_a_bad_picture(tmp_path: Path, cut: str):
    path = write_tar(tmp_path / "a.tar", [(f"{number}.jpg", os.urandom(3000)) for number in range(5)])
    data = path.read_bytes()
    third = 2 * (512 + 3072)
    path.write_bytes(
        {
            "in a member": data[: third + 2000],
            "in a header": data[: third + 100],
            "garbage in a header": data[:third] + b"\xaa" * 512 + data[third + 512 :],
        }[cut]
    )
    source = open_pictures([str(path)])
    contents: dict[str, bytes | str] = {}
    for picture in source.pictures():
        try:
            contents[picture.id] = source.read(picture)
        except ImageError as error:
            contents[picture.id] = str(error)
    assert contents["a.tar/0.jpg"] == data[512:3512]
    assert contents["a.tar/1.jpg"] == data[4096:7096]
    assert str(contents["a.tar"]).startswith("the tar file is damaged at byte ")
    assert str(contents.get("a.tar/2.jpg", "ends in the middle of it")).endswith(
        "ends in the middle of it: 1,488 of 3,000 bytes are there" if cut == "in a member" else "in the middle of it"
    )
    assert len(contents) == (4 if cut == "in a member" else 3)


def test_compressed_tar_files_and_what_is_none_are_refused(tmp_path: Path):
    write_tar(tmp_path / "zip.tar", MEMBERS, "w:gz")
    write(tmp_path, {"bad.tar": b"x" * 2000, "empty.tar": b""})
    for name in ("zip", "bad", "empty"):
        with pytest.raises(DataError, match=f"{name}.tar: not a tar file without compression: unpack it first"):
            open_pictures([str(tmp_path / f"{name}.tar")])
    with pytest.raises(DataError, match=r"x-1.tar: no such shard"):
        open_pictures([f"{tmp_path}/x-{{1..2}}.tar"])
    write_tar(tmp_path / "a.tar", MEMBERS)
    with pytest.raises(DataError, match=r"bad.tar: not a tar file"):
        list(open_pictures([f"{tmp_path}/*.tar"]).pictures())


def test_a_tar_file_that_goes_away_is_a_bad_picture_then_an_error(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", MEMBERS)
    source = open_pictures([str(path)])
    picture = next(iter(source.pictures()))
    path.unlink()
    with pytest.raises(ImageError, match="^no such file$"):
        source.read(picture)
    with pytest.raises(DataError, match=r"a.tar: cannot be read: "):
        list(source.pictures())
