"""What stands on the command line is opened as what it is, and several sources are one."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encode.sources.files import opened, write, write_tar
from opticnerve.encode.sources import PictureSource, open_pictures
from opticnerve.encode.sources.picture import NamedSource, ends_of
from opticnerve.errors import DataError


def write_bytes_table(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [b"p0", b"p1"]}), path)


def test_ids_of_further_sources_begin_with_their_names(tmp_path: Path):
    write(tmp_path, {"a/1.jpg": b"a1", "a/2.jpg": b"a2", "b/1.jpg": b"b1", "c/b/1.jpg": b"cb1", "one.jpg": b"one"})
    write_tar(tmp_path / "t.tar", [("1.jpg", b"t1" * 9000)])
    write_bytes_table(tmp_path / "p.parquet")
    (tmp_path / "list.txt").write_text("a/1.jpg\n")
    texts = ("a", "b", "c/b", "t.tar", "p.parquet", "list.txt", "one.jpg", "a/2.jpg")
    assert opened(*(tmp_path / text for text in texts)) == {
        "1.jpg": b"a1",
        "2.jpg": b"a2",
        "b:1.jpg": b"b1",
        "b-2:1.jpg": b"cb1",
        "t:t.tar/1.jpg": b"t1" * 9000,
        "p:p.parquet/0": b"p0",
        "p:p.parquet/1": b"p1",
        "list:a/1.jpg": b"a1",
        f"files:{tmp_path}/one.jpg": b"one",
        f"files:{tmp_path}/a/2.jpg": b"a2",
    }


def test_ids_stay_when_pictures_and_sources_are_added(tmp_path: Path):
    write(tmp_path, {"a/1.jpg": b"a1", "b/2.jpg": b"b2"})
    before = opened(tmp_path / "a", tmp_path / "b")
    write(tmp_path, {"a/2.jpg": b"a2", "b/1.jpg": b"b1", "c/1.jpg": b"c1"})
    after = opened(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert before == {"1.jpg": b"a1", "b:2.jpg": b"b2"}
    assert after == {**before, "2.jpg": b"a2", "b:1.jpg": b"b1", "c:1.jpg": b"c1"}
    assert opened(tmp_path / "a", tmp_path / "a") == {
        "1.jpg": b"a1",
        "2.jpg": b"a2",
        "a:1.jpg": b"a1",
        "a:2.jpg": b"a2",
    }


def test_joined_sources_read_ends_where_each_would(tmp_path: Path):
    write(tmp_path, {"a/1.jpg": b"x" * 5000 + b"y" * 9000})
    write_tar(tmp_path / "t.tar", [("1.jpg", b"t1" * 9000)])
    write_bytes_table(tmp_path / "p.parquet")
    source = open_pictures([str(tmp_path / name) for name in ("a", "t.tar", "p.parquet")])
    assert isinstance(source, NamedSource)
    for picture in source.pictures():
        assert source.read_ends(picture) == ends_of(source.read(picture))


def test_a_folder_of_several_kinds_is_refused_unless_a_table_is_about_the_images(tmp_path: Path):
    write(tmp_path, {"photos/a.jpg": b"a"})
    pq.write_table(pa.table({"path": ["a.jpg"]}), tmp_path / "photos/about.parquet")
    assert opened(tmp_path / "photos") == {"a.jpg": b"a"}
    write_bytes_table(tmp_path / "photos/0.parquet")
    with pytest.raises(DataError, match=r"photos: holds images and Parquet files: name those that are meant, such as"):
        open_pictures([str(tmp_path / "photos")])
    write_tar(tmp_path / "mixed/1.tar", [("1.jpg", b"t1")])
    write_bytes_table(tmp_path / "mixed/1.parquet")
    with pytest.raises(DataError, match=r"mixed: holds tar files and Parquet files: name those that are meant"):
        open_pictures([str(tmp_path / "mixed")])
    with pytest.raises(
        DataError, match=r"mixed/1.*: matches files of several kinds \(\.parquet, \.tar\): name one kind"
    ):
        open_pictures([f"{tmp_path}/mixed/1.*"])


def test_stored_tokens_in_the_folder_of_their_pictures_are_no_pictures(tmp_path: Path):
    write_bytes_table(tmp_path / "data/0.parquet")
    before = opened(tmp_path / "data")
    write(tmp_path, {"data/tokens/encode.json": b"{}"})
    for name in ("manifest", "shards/00000000"):
        write_bytes_table(tmp_path / f"data/tokens/{name}.parquet")
    assert opened(tmp_path / "data") == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gone", "gone: no such file or folder. To encode: a folder of images, Parquet or tar files; an image; a list"),
        ("gone/a.jpg", "gone/a.jpg: no such file or folder"),
        ("gone/list.txt", "gone/list.txt: no such file or folder"),
        ("gone/a.parquet", "gone/a.parquet: no such file or folder"),
        ("../gone/there", "../gone/there: no such file or folder"),
        ("a.zip", "a.zip: not a source of pictures that is known by its name. To encode: a folder"),
        ("*.png", "*.png: no such shard"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str):
    write(tmp_path, {"a.zip": b""})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        open_pictures([text])
    assert str(caught.value).startswith(message)


def test_nothing_is_refused():
    with pytest.raises(
        DataError, match="nothing to encode was given: name a folder of images, Parquet or tar files; an"
    ):
        open_pictures([])


def test_what_is_opened_is_a_source(tmp_path: Path):
    write(tmp_path, {"a.jpg": b"a"})
    assert isinstance(open_pictures([str(tmp_path)]), PictureSource)
