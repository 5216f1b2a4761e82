"""Looking a folder through: whole ones pass, and every kind of damage is found and named."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encode.pictures import encode, folder_of
from opticnerve.cli import run
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.verify import verify


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("whole")
    photos = folder_of(home / "photos", 9)
    shutil.copy(photos / "0003.png", photos / "again.png")
    (photos / "bad.png").write_bytes(b"bad")
    encode(photos, home / "out", max_skipped=0.2)
    return home


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole / "out", tmp_path / "out"))


def test_a_whole_folder_has_no_faults(whole: Path) -> None:
    found = verify(whole / "out")
    assert found.faults == []
    assert (found.num_images, found.num_duplicates, found.num_skipped, found.num_shards) == (10, 1, 1, 3)
    assert (found.num_read, found.num_changed) == (10, 0)


def test_pictures_that_have_changed_or_gone_are_counted(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 4), tmp_path / "out"
    encode(photos, out)
    (photos / "0001.png").write_bytes(b"other")
    (photos / "0002.png").unlink()
    assert (verify(out).num_read, verify(out).num_changed) == (4, 2)
    shutil.rmtree(photos)
    assert (verify(out).faults, verify(out).num_changed) == ([], 4)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change(path: Path, column: str, values: Callable[[list[object]], list[object]]) -> None:
    table = pq.read_table(path)
    index = table.schema.get_field_index(column)
    new = pa.array(values(table[column].to_pylist()), type=table.schema.field(index).type)
    pq.write_table(table.set_column(index, table.schema.field(index), new), path)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit of a shard": (lambda out: flip(out / "shards" / "00000001.safetensors"), "its checksum is not the one"),
    "a shard's table": (
        lambda out: flip(out / "shards" / "00000001.parquet"),
        "00000001.parquet is damaged: delete it",
    ),
    "rows of a shard": (
        lambda out: change(out / "shards" / "00000000.parquet", "stop", lambda stops: [*stops[:-1], 1]),
        "rows are not those of the images in its table",
    ),
    "an image of the manifest": (
        lambda out: pq.write_table(pq.read_table(out / "manifest.parquet").slice(1), out / "manifest.parquet"),
        "0000.png is missing or wrong",
    ),
    "the last image of the manifest": (
        lambda out: pq.write_table(pq.read_table(out / "manifest.parquet").slice(0, 9), out / "manifest.parquet"),
        "again.png is missing or wrong",
    ),
    "an image twice": (
        lambda out: pq.write_table(
            pa.concat_tables([pq.read_table(out / "manifest.parquet")] * 2), out / "manifest.parquet"
        ),
        "has more images than were listed",
    ),
    "a skipped picture": (
        lambda out: pq.write_table(pq.read_table(out / "skipped.parquet").slice(1), out / "skipped.parquet"),
        "bad.png is missing or wrong",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_every_damage_is_found(out: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage, said = DAMAGES[name]
    damage(out)
    assert re.search(re.escape(said), "\n".join(verify(out).faults))
    assert run(["encode", "verify", str(out)]) == 1
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_run_that_is_not_finished_is_no_fault_but_told(out: Path) -> None:
    (out / "shards" / "00000001.parquet").unlink()
    with pytest.raises(EncodeError, match=r"the run is not finished, 1 of 3 shards are missing: give the same"):
        verify(out)


def test_a_folder_of_something_else_is_refused(tmp_path: Path, out: Path) -> None:
    with pytest.raises(
        EncodeError, match=r"there is no encode\.json: this is no folder that `opticnerve encode` wrote"
    ):
        verify(tmp_path)
    (out / "encode.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(EncodeError, match=r"its format is 'other', and \"opticnerve\.encoded/1\" is needed"):
        verify(out)
    (out / "encode.json").write_text("{")
    with pytest.raises(EncodeError, match=r"encode\.json cannot be read: "):
        verify(out)
