"""Rows of Parquet files are pictures: bytes, bytes with a path, or paths; a few rows are in memory at a time."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encode.sources.files import opened, write
from opticnerve.encode.sources import open_pictures
from opticnerve.encode.sources import rows as rows_file
from opticnerve.encode.sources.rows import ParquetRows
from opticnerve.errors import DataError, ImageError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_table(path: Path, row_group_size: int = 10, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def contents(count: int, salt: str = "") -> list[bytes]:
    return [f"{salt}{number}".encode() * 10 for number in range(count)]


def test_bytes_in_many_files_are_read_in_order(tmp_path: Path):
    for name in ("train-1", "train-0", "more/x"):
        write_table(tmp_path / f"{name}.parquet", image=contents(47, name), label=list(range(47)))
    expected = {
        f"{name}.parquet/{row}": data
        for name in ("more/x", "train-0", "train-1")
        for row, data in enumerate(contents(47, name))
    }
    assert list(opened(tmp_path).items()) == list(expected.items())
    assert opened(tmp_path / "train-0.parquet") == dict(list(expected.items())[47:94])
    assert opened(f"{tmp_path}/train-*.parquet") == dict(list(expected.items())[47:])
    assert opened(f"{tmp_path}/train-{{0..1}}.parquet") == dict(list(expected.items())[47:])


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_any_kind_of_bytes_is_read(tmp_path: Path, kind: Any):
    write_table(tmp_path / "a.parquet", jpg=pa.array(contents(3), kind))
    assert list(opened(tmp_path / "a.parquet").values()) == contents(3)


def test_of_a_struct_the_bytes_come_before_the_path(tmp_path: Path):
    write(tmp_path, {"photos/a.jpg": b"from a file"})
    cells = [
        {"bytes": b"held", "path": "photos/a.jpg"},
        {"bytes": None, "path": "photos/a.jpg"},
        {"bytes": b"no path", "path": None},
    ]
    write_table(tmp_path / "t.parquet", photo=pa.array(cells, STRUCT), image=["x", "y", "z"])
    assert list(opened(tmp_path / "t.parquet").values()) == [b"held", b"from a file", b"no path"]


def test_an_empty_cell_and_a_missing_file_are_bad_pictures(tmp_path: Path):
    cells = [None, {"bytes": None, "path": None}, {"bytes": None, "path": "gone.jpg"}]
    write_table(tmp_path / "t.parquet", image=pa.array(cells, STRUCT))
    source = open_pictures([str(tmp_path / "t.parquet")])
    for picture, reason in zip(
        source.pictures(), ("its row holds no image", "its row holds no image", "no such file"), strict=True
    ):
        with pytest.raises(ImageError, match=f"^{reason}$"):
            source.read(picture)


def test_a_column_of_paths_gives_files_of_their_own(tmp_path: Path):
    write(tmp_path, {"photos/a.jpg": b"a", "photos/b.jpg": b"bb"})
    paths = ["photos/b.jpg", str(tmp_path / "photos/a.jpg"), None, "https://there/a.jpg"]
    write_table(tmp_path / "t.parquet", image_path=paths, text=["x"] * 4)
    source = open_pictures([str(tmp_path / "t.parquet")])
    first, second, third, fourth = source.pictures()
    assert (first.id, first.path, first.offset, first.num_bytes) == (
        "t.parquet/0",
        str(tmp_path / "photos/b.jpg"),
        0,
        2,
    )
    assert source.read(second) == b"a"
    assert (third.id, third.path, third.offset) == ("t.parquet/2", str(tmp_path / "t.parquet"), 2)
    with pytest.raises(ImageError, match="its row holds no image"):
        source.read(third)
    with pytest.raises(ImageError, match="is an address, and images are read from files"):
        source.read(fourth)


def test_the_column_can_be_named(tmp_path: Path):
    path = write_table(tmp_path / "t.parquet", left=contents(2, "l"), right=contents(2, "r"), n=[1, 2])
    with pytest.raises(DataError, match=r"t.parquet: has several columns with bytes: left, right. Say which: .*#left$"):
        open_pictures([str(path)])
    assert list(opened(f"{path}#right").values()) == contents(2, "r")
    assert list(opened(f"{tmp_path}#right").values()) == contents(2, "r")
    with pytest.raises(DataError, match=r't.parquet: has no column "up"; its columns: left, right, n'):
        open_pictures([f"{path}#up"])
    with pytest.raises(DataError, match=r't.parquet: its column "n" has neither bytes nor paths, but int64'):
        open_pictures([f"{path}#n"])
    write_table(tmp_path / "u.parquet", image=contents(2, "i"), right=contents(2, "r"))
    assert list(opened(tmp_path / "u.parquet").values()) == contents(2, "i")


def test_a_table_without_images_and_a_damaged_one_are_refused(tmp_path: Path):
    path = write_table(tmp_path / "t.parquet", text=["x"], n=[1])
    with pytest.raises(DataError, match=r"t.parquet: has no image column: bytes, .*; its columns: text, n. Of another"):
        open_pictures([str(path)])
    write(tmp_path, {"bad.parquet": b"PAR1 broken"})
    with pytest.raises(DataError, match=r"bad.parquet: cannot be read as a Parquet file: "):
        open_pictures([str(tmp_path / "bad.parquet")])
    write_table(tmp_path / "u/1.parquet", image=contents(3))
    write_table(tmp_path / "u/2.parquet", photo=contents(3))
    with pytest.raises(DataError, match=r'2.parquet: has no column "image"; its columns: photo'):
        list(open_pictures([str(tmp_path / "u")]).pictures())


def test_a_row_of_a_file_that_was_damaged_since_is_a_bad_picture(tmp_path: Path):
    path = write_table(tmp_path / "t.parquet", image=contents(3))
    source = open_pictures([str(path)])
    picture = list(source.pictures())[-1]
    write_table(path, image=contents(2))
    with pytest.raises(ImageError, match="^its row cannot be read: row 2 of 2$"):
        source.read(picture)
    path.write_bytes(b"PAR1 broken")
    with pytest.raises(ImageError, match="^its row cannot be read: "):
        source.read(picture)


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count how often files are opened."""
    found: list[str] = []
    real = pq.ParquetFile

    def count(path: str, **options: Any) -> Any:
        found.append(path)
        return real(path, **options)

    monkeypatch.setattr(rows_file.pq, "ParquetFile", count)
    return found


def test_rows_in_order_are_read_once_whatever_is_left_out(tmp_path: Path, openings: list[str]):
    data = contents(300)
    path = str(write_table(tmp_path / "t.parquet", 70, image=data))
    rows = ParquetRows("image")
    assert [rows.cell(path, row) for row in range(0, 60, 3)] == data[:60:3]
    assert openings == [path]
    assert [rows.cell(path, row) for row in (250, 251, 299, 285)] == [data[250], data[251], data[299], data[285]]
    assert openings == [path] * 2, "row groups in between are passed over"
    assert rows.cell(path, 3) == data[3]
    assert openings == [path] * 3
    with pytest.raises(IndexError, match="row 300 of 300"):
        rows.cell(path, 300)


def test_several_threads_may_ask(tmp_path: Path):
    data = contents(500)
    path = str(write_table(tmp_path / "t.parquet", 100, image=data))
    rows = ParquetRows("image")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda row: rows.cell(path, row), range(500))) == data


def test_a_process_that_was_forked_off_opens_files_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = contents(100)
    path = str(write_table(tmp_path / "t.parquet", image=data))
    rows = ParquetRows("image")
    assert rows.cell(path, 0) == data[0]
    monkeypatch.setattr(os, "getpid", lambda: 1)
    rows._batches = iter(())  # what the other process has read on
    assert rows.cell(path, 20) == data[20]
