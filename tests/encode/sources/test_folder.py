"""Folders give their images in sorted order; files that are named one by one give themselves."""

import os
from pathlib import Path

import pytest

from encode.sources.files import opened, write
from opticnerve.data.find import walk_files
from opticnerve.encode.sources import open_pictures
from opticnerve.errors import DataError


def test_a_folder_gives_its_images_and_those_below_in_sorted_order(tmp_path: Path):
    names = ["b.jpg", "a/2.PNG", "a/1.webp", "a.jpg", "c/d/e.tiff", "a b.jpg"]
    write(tmp_path, {name: name.encode() for name in names})
    write(tmp_path, {".hidden/x.jpg": b"", "a/._1.jpg": b"", "notes.md": b"", "photo.jpg.bak": b""})
    found = opened(tmp_path)
    assert list(found) == sorted(names, key=lambda name: Path(name).parts)
    assert all(data == name.encode() for name, data in found.items())


def test_ids_do_not_depend_on_how_the_folder_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, {"photos/a.jpg": b"a", "photos/b/c.jpg": b"c"})
    monkeypatch.chdir(tmp_path)
    for text in ("photos", "photos/", "./photos", "photos/../photos", str(tmp_path / "photos")):
        assert opened(text) == {"a.jpg": b"a", "b/c.jpg": b"c"}
    monkeypatch.chdir(tmp_path / "photos")
    assert opened(".") == {"a.jpg": b"a", "b/c.jpg": b"c"}


def test_links_to_files_are_images_and_links_to_folders_are_not_followed(tmp_path: Path):
    write(tmp_path, {"there/a.jpg": b"a", "here/b.jpg": b"b"})
    (tmp_path / "here/a.jpg").symlink_to("../there/a.jpg")
    (tmp_path / "here/there").symlink_to("../there")
    (tmp_path / "here/round").symlink_to("round")
    (tmp_path / "here/round.jpg").symlink_to("round.jpg")
    names = [path.name for path in walk_files(tmp_path / "here")]
    assert names == ["a.jpg", "b.jpg", "round.jpg"]
    (tmp_path / "here/round.jpg").unlink()
    assert opened(tmp_path / "here") == {"a.jpg": b"a", "b.jpg": b"b"}


def test_files_are_known_by_what_they_are_called(tmp_path: Path):
    write(tmp_path, {"a.jpg": b"a", "b.jpg": b"b"})
    found = opened(tmp_path / "b.jpg", tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert list(found) == [str(tmp_path / "b.jpg"), str(tmp_path / "a.jpg")]
    assert opened(f"{tmp_path}/*.jpg") == {str(tmp_path / "a.jpg"): b"a", str(tmp_path / "b.jpg"): b"b"}


def test_a_folder_without_images_or_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DataError, match=r"the folder holds no images. Known suffixes: .avif, .*\.tar, \.parquet$"):
        open_pictures([str(tmp_path)])
    write(tmp_path, {"a.jpg": b"a"})
    source = open_pictures([str(tmp_path)])

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    for each in (lambda: open_pictures([str(tmp_path)]), lambda: list(source.pictures())):
        with pytest.raises(DataError, match=f"{tmp_path}: the folder cannot be listed: Permission denied"):
            each()
