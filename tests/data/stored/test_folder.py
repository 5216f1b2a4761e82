"""A folder of stored images gives back each image, whatever it is asked by, and says what is wrong with it."""

import hashlib
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.stored.writer import TILE, Entry, write_folder
from opticnerve.data import SeenImage, SeenTokens
from opticnerve.data.stored import shards
from opticnerve.data.stored.folder import StoredFolder
from opticnerve.data.stored.format import MANIFEST
from opticnerve.errors import DataError

NAMES = [f"{'ab'[number % 2]}/{number * 7919 % 101:03d}.jpg" for number in range(11)]


def values_of(number: int) -> torch.Tensor:
    return torch.randn(1 + number % 4, 8, generator=torch.Generator().manual_seed(number))


def entries(**changes: Any) -> list[Entry]:
    return [
        Entry(id=name, path=f"photos/{name}", values=values_of(n), size=(10 + n, 20 + n), content=b"%d" % n, **changes)
        for n, name in enumerate(NAMES)
    ]


def folder_of(path: Path, **changes: Any) -> StoredFolder:
    return StoredFolder(write_folder(path / "stored", entries(), **changes))


# -- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "step"), [("fp32", 0.0), ("bf16", 2**-8), ("fp16", 2**-11), ("int8", 1 / 254)])
@pytest.mark.parametrize("keep", ["features", "tokens"])
def test_each_image_comes_back_as_exact_as_its_dtype(tmp_path: Path, dtype: str, step: float, keep: str) -> None:
    folder = folder_of(tmp_path, dtype=dtype, keep=keep)
    assert (folder.kind, len(folder), list(folder.ids())) == (keep, 11, NAMES)
    for number, name in enumerate(NAMES):
        image, wanted = folder.read(name), values_of(number)
        assert image.values.shape == wanted.shape
        assert image.values.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype, torch.float32)
        bound = wanted.abs().amax(1, keepdim=True) if dtype == "int8" else wanted.abs()
        assert ((image.values.float() - wanted).abs() <= bound * step * 1.001).all()
        assert (image.id, image.path, image.offset, image.same_as) == (name, f"photos/{name}", 0, None)
        assert (image.height_px, image.width_px, image.num_tiles) == (10 + number, 20 + number, 1)
        assert image.sha256 == hashlib.sha256(b"%d" % number).hexdigest()
        assert image.grids == ((2, 3, 1, 0),)
        assert image.out_grids == ((0, 0, 0, 6),)
        assert image.tile_boxes == ((0.0, 0.0, 8.0, 12.0),)
        seen = folder.seen(name)
        assert isinstance(seen, SeenImage if keep == "features" else SeenTokens)
        assert torch.equal(seen.features if isinstance(seen, SeenImage) else seen.tokens, image.values)
        assert (seen.height_px, seen.width_px) == (10 + number, 20 + number)


def test_a_row_is_the_manifests(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    table = pq.read_table(folder.path / MANIFEST).to_pylist()
    for row in (table[0], table[7], table[10]):
        assert folder.row(row["id"]) == row
    assert {key: folder.row(NAMES[3])[key] for key in TILE} == TILE


def test_an_image_is_found_by_id_by_path_and_by_its_bytes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    for number, name in enumerate(NAMES):
        assert folder.find(name) == folder.find(f"photos/{name}") == name
        assert folder.by_sha256(hashlib.sha256(b"%d" % number).hexdigest()) == name
    assert folder.find("") is folder.find("photos") is folder.find("~") is folder.by_sha256("00") is None


def test_a_file_that_holds_several_images_is_none_of_them(tmp_path: Path) -> None:
    some = [
        Entry(id="a.tar/0.jpg", path="a.tar", offset=512, values=values_of(0)),
        Entry(id="a.tar/1.jpg", path="a.tar", offset=2048, values=values_of(1)),
        Entry(id="one", path="x.jpg", values=values_of(2)),
        Entry(id="two", path="x.jpg", values=values_of(2)),
    ]
    folder = StoredFolder(write_folder(tmp_path / "stored", some))
    assert folder.find("a.tar") is None
    assert folder.find("a.tar/1.jpg") == "a.tar/1.jpg"
    assert folder.find("x.jpg") == "one"


def test_a_duplicate_has_the_rows_of_the_image_that_is_like_it(tmp_path: Path) -> None:
    folder = StoredFolder(
        write_folder(tmp_path / "stored", [*entries(), Entry(id="copy", values=values_of(0), same_as=NAMES[5])])
    )
    copy = folder.read("copy")
    assert (copy.id, copy.same_as) == ("copy", NAMES[5])
    assert torch.equal(copy.values, values_of(5))


@settings(max_examples=25, deadline=None)
@given(st.sets(st.text(st.characters(codec="utf-8"), min_size=1), max_size=12), st.text())
def test_any_text_is_found_where_it_is_and_nowhere_else(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], other: str
) -> None:
    order = sorted(names, key=hash)
    some = [Entry(id=name, path=f"/{name}", values=torch.full((1, 4), float(n))) for n, name in enumerate(order)]
    folder = StoredFolder(write_folder(tmp_path_factory.mktemp("any") / "stored", some))
    for number, name in enumerate(order):
        assert folder.find(name) == name
        assert folder.read(name).values.tolist() == [[number] * 4]
    assert (folder.find(other) == other) == (other in names)


# -- files ----------------------------------------------------------------------------------------------------------


def test_few_shards_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_OPEN", 2)
    folder = folder_of(tmp_path, shard_size=1)
    for _ in range(2):
        for number, name in enumerate(NAMES):
            assert torch.equal(folder.read(name).values, values_of(number))
            assert len(folder._shards) <= 2


def test_what_was_read_stays_when_its_shard_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_OPEN", 1)
    folder = folder_of(tmp_path, shard_size=1)
    found = [folder.read(name).values for name in NAMES]
    assert all(torch.equal(values, values_of(number)) for number, values in enumerate(found))


def test_a_folder_goes_to_another_process_as_its_path(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    first = folder.read(NAMES[3])
    pickled = pickle.dumps(folder)
    assert len(pickled) < 500
    again = pickle.loads(pickled)
    assert torch.equal(again.read(NAMES[3]).values, first.values)


def test_a_folder_without_images_can_be_opened(tmp_path: Path) -> None:
    folder = StoredFolder(write_folder(tmp_path / "stored", [], skipped=[("a", "a", "not an image")]))
    assert (len(folder), list(folder.ids()), folder.find("a")) == (0, [], None)
    assert folder.why_skipped("a") == "not an image"


# -- what is wrong --------------------------------------------------------------------------------------------------


def test_a_folder_that_nothing_was_encoded_into_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(DataError) as caught:
            StoredFolder(path)
        assert str(caught.value) == f"{path}: has no encode.json: name a folder that `opticnerve encode` wrote"


def test_a_run_that_is_not_finished_says_so(tmp_path: Path) -> None:
    path = folder_of(tmp_path).path
    (path / MANIFEST).unlink()
    with pytest.raises(DataError) as caught:
        StoredFolder(path)
    assert str(caught.value) == (
        f"{path}: has no manifest.parquet: the run is not finished. Run the same `opticnerve encode` command again"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", r"encode\.json is damaged \(Expecting property name"),
        ("[]", r"encode\.json: its format is None, and \"opticnerve\.encoded/1\" is read: encode again"),
        ('{"format": "opticnerve.encoded/2"}', r"its format is 'opticnerve\.encoded/2'"),
        ('{"format": "opticnerve.encoded/1"}', "does not say what is stored, tokens or features, and how images were"),
    ],
)
def test_an_encode_json_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = folder_of(tmp_path).path
    (path / "encode.json").write_text(text)
    with pytest.raises(DataError, match=said):
        StoredFolder(path)


@pytest.mark.parametrize("name", ["manifest.parquet", "skipped.parquet"])
def test_a_damaged_table_says_what_to_do(tmp_path: Path, name: str) -> None:
    path = folder_of(tmp_path).path
    (path / name).write_bytes((path / name).read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{name} is damaged \(.+\): run the same `opticnerve encode` command again$"):
        StoredFolder(path)


def test_a_manifest_without_a_column_is_damaged(tmp_path: Path) -> None:
    path = folder_of(tmp_path).path
    pq.write_table(pq.read_table(path / MANIFEST).drop_columns(["start", "grids"]), path / MANIFEST)
    with pytest.raises(DataError, match=r"manifest\.parquet is damaged \(it has no column grids, start\): run"):
        StoredFolder(path)


def test_a_damaged_shard_says_what_to_do(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    path = folder.path / "shards" / "00000001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    torch.testing.assert_close(folder.read(NAMES[0]).values, values_of(0))
    with pytest.raises(DataError) as caught:
        folder.read(NAMES[5])
    assert re.fullmatch(
        rf"{re.escape(str(path))} is damaged \(.+\): delete it, and run the same `opticnerve encode` command again, "
        "which makes it anew",
        str(caught.value),
    )
    path.unlink()
    with pytest.raises(DataError, match=r"00000001\.safetensors: no such shard: run the same `opticnerve encode`"):
        folder.seen(NAMES[5])


def test_a_shard_of_another_run_is_damaged(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    first, last = (folder.path / "shards" / f"0000000{number}.safetensors" for number in (0, 2))
    first.write_bytes(last.read_bytes())
    with pytest.raises(DataError, match=r"\(it has 6 rows, and rows 6 to 10 are asked for\): delete it"):
        folder.seen(NAMES[3])
    other = write_folder(tmp_path / "other", entries(), keep="tokens")
    first.write_bytes((other / "shards" / first.name).read_bytes())
    with pytest.raises(DataError, match=r"00000000\.safetensors is damaged \(.*features"):
        StoredFolder(folder.path).seen(NAMES[0])


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, skipped=[("bad.jpg", "photos/bad.jpg", "the file is empty")])
    for ask in (folder.row, folder.read, folder.seen):
        with pytest.raises(DataError) as caught:
            ask("cat.jpg")
        known = ", ".join(NAMES[:3])
        assert str(caught.value) == f"{folder.path}: has no image cat.jpg: its 11 images begin with {known}"
        with pytest.raises(DataError, match=r"has no image bad\.jpg: it was skipped: the file is empty"):
            ask("bad.jpg")
    assert folder.why_skipped("photos/bad.jpg") == "the file is empty"
    assert folder.why_skipped(NAMES[0]) is None


def test_what_made_the_folder_is_said(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, settings={"encoder_sha256": "ab"}, sight={"scales": [1]})
    assert folder.about == json.loads((folder.path / "encode.json").read_text())
    assert folder.about["settings"]["encoder_sha256"] == "ab"
