"""A file is whole, or what was there before."""

from pathlib import Path

import pytest

from opticnerve.errors import DataError
from opticnerve.whole_files import write_whole


def test_folders_are_made_and_what_is_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    for data in (b"first", b"second"):
        write_whole(path, data, what="note", error=DataError, remedy="Write elsewhere")
        assert path.read_bytes() == data
    assert [one.name for one in path.parent.iterdir()] == ["b.txt"]


def test_what_cannot_be_written_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.mkdir()
    with pytest.raises(DataError) as caught:
        write_whole(path, b"", what="note", error=DataError, remedy="Write elsewhere")
    assert str(caught.value) == f"cannot write the note {path}: is a directory. Write elsewhere"
    assert list(tmp_path.iterdir()) == [path]
