"""A listing holds every picture in order, deals them out to shards, finds identical ones, and is only added to."""

import hashlib
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encode.sources.files import write, write_tar
from opticnerve.encode import duplicates, listing, listing_table
from opticnerve.encode.listing import Listing, make_listing, read_listing
from opticnerve.encode.sources import Picture, PictureSource, open_pictures
from opticnerve.encode.store import StoreError
from opticnerve.errors import DataError, ImageError


class Held:
    """Pictures in memory, whose lengths are known or not; it notes which are read."""

    def __init__(self, contents: dict[str, bytes], *, is_length_known: bool = True) -> None:
        self.contents = contents
        self.is_length_known = is_length_known
        self.read_ids: list[str] = []

    def pictures(self) -> Iterator[Picture]:
        for offset, (name, data) in enumerate(self.contents.items()):
            yield Picture(id=name, path="held", offset=offset, num_bytes=len(data) if self.is_length_known else None)

    def read(self, picture: Picture) -> bytes:
        self.read_ids.append(picture.id)
        if self.contents[picture.id] == b"bad":
            raise ImageError("cannot be read")
        return self.contents[picture.id]


class Ended(Held):
    """Pictures of which the ends can be read alone."""

    name = "held"
    holders = frozenset({"held"})

    def __init__(self, contents: dict[str, bytes], *, ends_bytes: int = 4096) -> None:
        super().__init__(contents)
        self.ends_bytes = ends_bytes
        self.ends_ids: list[str] = []

    def read_ends(self, picture: Picture) -> bytes:
        self.ends_ids.append(picture.id)
        data = self.contents[picture.id]
        return data[: self.ends_bytes] + data[-self.ends_bytes :]


def make(
    source: PictureSource | str | Path, folder: Path, *, shard_size: int = 3, keep_duplicates: bool = False
) -> Listing:
    opened = open_pictures([str(source)]) if isinstance(source, str | Path) else source
    return make_listing(opened, folder / "sources.parquet", shard_size=shard_size, keep_duplicates=keep_duplicates)


def table(listed: Listing) -> list[dict[str, Any]]:
    return [row for batch in listed.rows() for row in batch.to_pylist()]


def column(listed: Listing, name: str) -> list[Any]:
    return [row[name] for row in table(listed)]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_every_picture_is_listed_in_order_and_dealt_out_to_shards(tmp_path: Path):
    source = Held({f"{number}.jpg": b"x" * number for number in range(8)})
    listed = make(source, tmp_path)
    assert (listed.num_pictures, listed.num_duplicates, listed.num_shards) == (8, 0, 3)
    assert table(listed)[4] == {
        "id": "4.jpg",
        "path": "held",
        "offset": 4,
        "num_bytes": 4,
        "shard": 1,
        "same_as": None,
        "sha256": None,
    }
    pictures = list(source.pictures())
    there = pickle.loads(pickle.dumps(listed))
    for each in (listed, there, read_listing(tmp_path / "sources.parquet")):
        shards = [each.shard(number) for number in (2, 0, 1)]
        assert [shard.indices for shard in shards] == [(6, 7), (0, 1, 2), (3, 4, 5)]
        assert [shard.pictures for shard in shards] == [tuple(pictures[6:]), tuple(pictures[:3]), tuple(pictures[3:6])]
        assert [shard.sha256s for shard in shards] == [(None,) * 2, (None,) * 3, (None,) * 3]
        assert [shard.number for shard in shards] == [2, 0, 1]
    for number in (3, -1):
        with pytest.raises(IndexError, match=f"shard {number} of 3"):
            listed.shard(number)
    assert listed.count([0, 2]) == 5
    assert listed.count([]) == 0
    assert source.read_ids == [], "lengths that differ need no reading"


def test_identical_pictures_are_in_one_shard_once(tmp_path: Path):
    source = Held({"a": b"one", "b": b"two", "c": b"one", "d": b"three", "e": b"two", "f": b"one", "g": b"six"})
    listed = make(source, tmp_path, shard_size=2)
    assert (listed.num_pictures, listed.num_duplicates, listed.num_shards) == (7, 3, 2)
    assert column(listed, "same_as") == [None, None, 0, None, 1, 0, None]
    assert column(listed, "shard") == [0, 0, None, 1, None, None, 1]
    assert listed.shard(1).indices == (3, 6)
    assert listed.shard(1).sha256s == (None, digest(b"six"))
    assert "d" not in source.read_ids, "a length of its own needs no reading"


def test_duplicates_are_kept_where_they_are_asked_for(tmp_path: Path):
    source = Held({"a": b"one", "b": b"one", "c": b"one"})
    listed = make(source, tmp_path, keep_duplicates=True)
    assert (listed.num_duplicates, listed.num_shards, source.read_ids) == (0, 1, [])
    assert column(listed, "shard") == [0, 0, 0]


def test_long_pictures_are_read_as_a_whole_only_where_their_ends_agree(tmp_path: Path):
    middle = b"m" * 100_000
    contents = {
        "a": b"1" + middle + b"1",
        "b": b"2" + middle + b"1",
        "c": b"1" + middle + b"2",
        "d": b"1" + middle[:50_000] + b"M" + middle[50_001:] + b"1",
        "e": b"1" + middle + b"1",
        "other": b"1" + middle,
    }
    source = Ended(contents)
    listed = make(source, tmp_path)
    assert sorted(source.ends_ids) == ["a", "b", "c", "d", "e"]
    assert sorted(source.read_ids) == ["a", "d", "e"]
    assert column(listed, "same_as") == [None, None, None, None, 0, None]
    assert column(listed, "sha256") == [digest(contents[name]) if name in "ade" else None for name in contents]


def test_a_source_that_cannot_read_ends_is_read_as_a_whole(tmp_path: Path):
    data = {"a": b"1" * 100_000, "b": b"2" * 100_000, "c": b"1" * 100_000}
    assert column(make(Held(data), tmp_path), "same_as") == [None, None, 0]


def test_a_picture_of_unknown_length_is_read_once_in_order(tmp_path: Path):
    source = Held({str(number): b"%d" % (number % 90) for number in range(100)}, is_length_known=False)
    listed = make(source, tmp_path, shard_size=50)
    assert source.read_ids == list(source.contents)
    assert column(listed, "same_as") == [None] * 90 + list(range(10))
    assert column(listed, "num_bytes") == [1] * 10 + [2] * 80 + [1] * 10
    assert column(listed, "sha256") == [digest(data) for data in source.contents.values()]


def test_known_and_unknown_lengths_are_compared_with_each_other(tmp_path: Path):
    data = b"x" * 100_000
    write(tmp_path / "photos", {"a.jpg": data, "b.jpg": b"y" * 100_000, "c.jpg": b"z"})
    write_tar(tmp_path / "t.tar", [("1.jpg", b"z"), ("2.jpg", data)])
    pq.write_table(pa.table({"image": [b"new", data, None]}), tmp_path / "p.parquet")
    sources = open_pictures([str(tmp_path / name) for name in ("photos", "t.tar", "p.parquet")])
    listed = make(sources, tmp_path)
    assert column(listed, "id")[-3:] == ["p:p.parquet/0", "p:p.parquet/1", "p:p.parquet/2"]
    assert column(listed, "same_as") == [None, None, None, 2, 0, None, 0, None]
    assert column(listed, "num_bytes")[-3:] == [3, 100_000, None]


def test_a_picture_that_cannot_be_read_or_has_changed_is_like_no_other(tmp_path: Path):
    source = Held({"a": b"bad", "b": b"bad", "c": b"one", "d": b"one"})
    assert column(make(source, tmp_path), "same_as") == [None, None, None, 2]

    class Changing(Held):
        def read(self, picture: Picture) -> bytes:
            return super().read(picture) + b"more"

    (tmp_path / "other").mkdir()
    listed = make(Changing({"a": b"one", "b": b"one"}), tmp_path / "other")
    assert column(listed, "sha256") == [None, None]


def test_new_pictures_go_to_new_shards_and_what_is_there_stays(tmp_path: Path):
    write(tmp_path / "photos", {f"{name}.jpg": name.encode() for name in ("b", "dd", "fff", "hhhh")})
    before = table(make(tmp_path / "photos", tmp_path))
    assert [row["shard"] for row in before] == [0, 0, 0, 1]
    write(tmp_path / "photos", {f"{name}.jpg": name.encode() for name in ("a", "ccccc", "gggggg")})
    write(tmp_path / "photos", {"e.jpg": b"dd", "i.jpg": b"gggggg"})
    (tmp_path / "photos/b.jpg").unlink()
    listed = make(tmp_path / "photos", tmp_path)
    after = table(listed)
    names = ["b", "dd", "fff", "hhhh", "a", "ccccc", "e", "gggggg", "i"]
    assert [row["id"] for row in after] == [f"{name}.jpg" for name in names]
    assert [row["shard"] for row in after] == [0, 0, 0, 1, 2, 2, None, 2, None]
    assert [row["same_as"] for row in after] == [None] * 6 + [1, None, 7]
    assert [row["sha256"] for row in after] == [None, digest(b"dd"), None, None, digest(b"a"), None] + [
        digest(text) for text in (b"dd", b"gggggg", b"gggggg")
    ]
    assert [{**row, "sha256": None} for row in after[:4]] == before
    assert (listed.num_pictures, listed.num_duplicates, listed.num_shards) == (9, 2, 3)
    assert [listed.shard(number).indices for number in range(3)] == [(0, 1, 2), (3,), (4, 5, 7)]


def test_a_listing_to_which_nothing_is_added_is_not_written_again(tmp_path: Path):
    source = Held({"a": b"one", "b": b"one", "c": b"two"})
    make(source, tmp_path)
    written = (tmp_path / "sources.parquet").stat()
    source.read_ids.clear()
    again = make(source, tmp_path, shard_size=1)
    assert again.num_shards == 1
    assert (tmp_path / "sources.parquet").stat() == written
    assert source.read_ids == []


@pytest.mark.parametrize("length", [1, 100_000])
def test_a_new_picture_is_compared_with_the_digest_of_an_old_one_that_is_gone(tmp_path: Path, length: int):
    make(Held({"a": b"one" * length, "b": b"one" * length}), tmp_path)
    source = Ended({"c": b"two" * length, "d": b"one" * length})
    assert column(make(source, tmp_path), "same_as") == [None, 0, None, 0]
    assert (source.ends_ids, source.read_ids) == ([], ["c", "d"])


def test_duplicates_that_were_kept_stay_when_later_ones_are_not(tmp_path: Path):
    source = Held({"a": b"one", "b": b"one"})
    make(source, tmp_path, keep_duplicates=True)
    source.contents |= {"c": b"one", "d": b"two"}
    listed = make(source, tmp_path)
    assert column(listed, "same_as") == [None, None, 0, None]
    assert column(listed, "shard") == [0, 0, None, 1]


def test_a_new_picture_is_not_taken_for_an_old_one_that_has_changed_its_length(tmp_path: Path):
    write(tmp_path / "photos", {"a.jpg": b"one"})
    make(tmp_path / "photos", tmp_path)
    write(tmp_path / "photos", {"a.jpg": b"longer", "b.jpg": b"longer", "c.jpg": b"one"})
    assert column(make(tmp_path / "photos", tmp_path), "same_as") == [None, None, None]


def test_two_pictures_of_one_id_are_refused(tmp_path: Path):
    class Twice(Held):
        def pictures(self) -> Iterator[Picture]:
            yield from super().pictures()
            yield from (replace(picture, offset=7) for picture in super().pictures())

    with pytest.raises(DataError, match='2 pictures have the id "a": ids are unique. Where sources overlap, name each'):
        make(Twice({"a": b"1"}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_source_without_pictures_or_that_breaks_off_leaves_nothing_behind(tmp_path: Path):
    class Broken(Held):
        def pictures(self) -> Iterator[Picture]:
            yield from super().pictures()
            raise OSError(5, "Input/output error")

    with pytest.raises(DataError, match="the source holds no pictures: name one that does"):
        make(Held({}), tmp_path)
    with pytest.raises(DataError, match=r"the source cannot be read on: \[Errno 5\] Input/output error"):
        make(Broken({"a": b"1"}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_listing_that_cannot_be_written_is_one_line_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make(Held({"a": b"1"}), tmp_path)
    before = (tmp_path / "sources.parquet").read_bytes()

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write .*sources.parquet: .*(full|No space)"):
        make(Held({"b": b"2"}), tmp_path)
    assert (tmp_path / "sources.parquet").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["sources.parquet"]


def test_a_missing_a_damaged_and_another_table_are_refused(tmp_path: Path):
    path = tmp_path / "sources.parquet"
    with pytest.raises(DataError, match=r"sources.parquet: cannot be read as a list of pictures: "):
        read_listing(path)
    path.write_bytes(b"PAR1 broken PAR1")
    with pytest.raises(DataError, match=r"sources.parquet: cannot be read as a list of pictures: "):
        read_listing(path)
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(DataError, match=r"is no list of pictures: its columns are id, and not id, path, offset, num_"):
        read_listing(path)
    path.unlink()
    listed = make(Held({"a": b"1"}), tmp_path)
    path.write_bytes(b"PAR1 broken PAR1")
    for each in (lambda: listed.shard(0), lambda: list(listed.rows())):
        with pytest.raises(DataError, match=r"sources.parquet: is damaged: .*. Restore it, or encode into another fol"):
            each()


def test_progress_is_told(tmp_path: Path):
    listed: list[int] = []
    compared: list[int] = []
    make_listing(
        Held({"a": b"one", "b": b"two", "c": b"three"}),
        tmp_path / "sources.parquet",
        shard_size=2,
        keep_duplicates=False,
        on_listed=listed.append,
        on_compared=compared.append,
    )
    assert (listed, compared) == ([3], [2])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    runs=st.lists(st.lists(st.text("ab", max_size=4), max_size=9), min_size=1, max_size=3),
    shard_size=st.integers(1, 6),
    rows_together=st.integers(1, 7),
    kind=st.sampled_from(["known", "unknown", "ends"]),
)
def test_whatever_is_added_each_content_is_encoded_once(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[list[str]],
    shard_size: int,
    rows_together: int,
    kind: str,
):
    folder = tmp_path_factory.mktemp("listing")
    everything: dict[str, bytes] = {}
    with pytest.MonkeyPatch.context() as patch:
        for module in (listing, listing_table):
            patch.setattr(module, "ROWS_TOGETHER", rows_together)
        patch.setattr(duplicates, "WHOLE_BYTES", 2)
        patch.setattr(duplicates, "_TOGETHER", 3)
        listed = None
        for run, contents in enumerate(runs):
            everything |= {f"{run}/{place}": content.encode() for place, content in enumerate(contents)}
            ended = Ended(everything, ends_bytes=1)
            source = ended if kind == "ends" else Held(everything, is_length_known=kind == "known")
            if everything:
                listed = make(source, folder, shard_size=shard_size)
        if listed is None:
            return
        rows = table(listed)
        shards = [listed.shard(number) for number in range(listed.num_shards)]
    assert [row["id"] for row in rows] == list(everything)
    encoded = [picture.id for shard in shards for picture in shard.pictures]
    assert [rows[index]["id"] for shard in shards for index in shard.indices] == encoded
    assert all(1 <= len(shard.pictures) <= shard_size for shard in shards)
    assert sorted(everything[name] for name in encoded) == sorted(set(everything.values()))
    for row in rows:
        if row["same_as"] is not None:
            original = rows[row["same_as"]]
            assert everything[original["id"]] == everything[row["id"]]
            assert original["same_as"] is None
            assert original["sha256"] == row["sha256"] == digest(everything[row["id"]])
    assert listed.num_duplicates == len(everything) - len(encoded)
