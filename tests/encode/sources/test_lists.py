"""Lists name images by path, relative to themselves, with ids of their own where they are JSON."""

import json
from pathlib import Path

import pytest

from encode.sources.files import opened, write
from opticnerve.encode.sources import open_pictures
from opticnerve.errors import DataError, ImageError


@pytest.mark.parametrize("name", ["list.txt", "list.LST"])
def test_each_line_is_a_path_relative_to_the_list(tmp_path: Path, name: str):
    write(tmp_path, {"photos/b c.jpg": b"b", "a.jpg": b"a", "other/#d.xyz": b"d"})
    lines = ["photos/b c.jpg", "", str(tmp_path / "a.jpg"), "photos/b c.jpg", "other/#d.xyz"]
    (tmp_path / name).write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    found = opened(tmp_path / name)
    assert found == {"photos/b c.jpg": b"b", str(tmp_path / "a.jpg"): b"a", "other/#d.xyz": b"d"}
    assert list(found) == ["photos/b c.jpg", str(tmp_path / "a.jpg"), "other/#d.xyz"]


def test_json_lines_have_ids_or_go_by_the_path(tmp_path: Path):
    write(tmp_path, {"a.jpg": b"a", "b.jpg": b"b", "c.jpg": b"c"})
    lines = [
        {"image": "c.jpg", "caption": "one"},
        {"image": "c.jpg", "caption": "two"},
        {"id": "first", "image": "a.jpg"},
        {"id": 7, "image": ["b.jpg", "a.jpg"]},
        {"id": "text alone"},
        {"id": "text alone", "image": None},
        {"id": "first", "image": "a.jpg"},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert opened(tmp_path / "list.jsonl") == {"c.jpg": b"c", "first": b"a", "7": b"b", "7/1": b"a"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 2: not JSON: Expecting property name"),
        (b"[1]", 'line 2: not an object with "image", but list'),
        (b'{"image": 5}', 'line 2: "image" is not the path of an image, but 5'),
        (b'{"image": ["a.jpg", ""]}', "line 2: \"image\" is not the path of an image, but ['a.jpg', '']"),
        (b'{"id": "x", "image": "b.jpg"}', 'line 2: the id "x" is that of another image too, a.jpg: ids are unique'),
        (b"\xff\xfe", "a list of images is text in UTF-8, and this is not: 'utf-8' codec can't decode"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str):
    (tmp_path / "list.jsonl").write_bytes(b'{"id": "x", "image": "a.jpg"}\n' + line)
    source = open_pictures([str(tmp_path / "list.jsonl")])
    with pytest.raises(DataError) as caught:
        list(source.pictures())
    assert str(caught.value).startswith(str(tmp_path / "list.jsonl"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_image_is_listed_and_a_missing_list_is_refused(tmp_path: Path):
    (tmp_path / "list.txt").write_text("gone.jpg\nhttps://there/a.jpg\n")
    source = open_pictures([str(tmp_path / "list.txt")])
    gone, address = source.pictures()
    for picture, reason in ((gone, "no such file"), (address, "no such file|is an address")):
        assert picture.num_bytes is None
        with pytest.raises(ImageError, match=reason):
            source.read(picture)
    (tmp_path / "list.txt").unlink()
    with pytest.raises(DataError, match=r"list.txt: cannot be read: No such file or directory"):
        list(source.pictures())
