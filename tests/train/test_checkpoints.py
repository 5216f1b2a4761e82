import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors import SafetensorError

from opticnerve.train import checkpoints
from opticnerve.train.errors import CheckpointWriteError


def fill(folder: Path) -> None:
    (folder / "weights").write_bytes(bytes(range(256)))
    (folder / "shards").mkdir()
    (folder / "shards" / "0").write_text("share")


def write(folder: Path, *steps: int) -> list[Path]:
    paths = [folder / f"checkpoint-{step}" for step in steps]
    for path in paths:
        checkpoints.write(path, fill, is_first=True, facts={"step": checkpoints.step_of(path)})
    return paths


def test_a_checkpoint_is_whole_and_lists_its_files(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 3)
    manifest = checkpoints.read_manifest(path)
    assert manifest["step"] == 3
    assert {name: file["bytes"] for name, file in manifest["files"].items()} == {"shards/0": 5, "weights": 256}
    assert checkpoints.verify(path) == ""
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint-3"]


def test_the_newest_is_the_one_with_most_steps_not_the_last_in_the_alphabet(tmp_path: Path) -> None:
    write(tmp_path, 9, 10, 2)
    found = checkpoints.newest_complete(tmp_path)
    assert (found.path, found.broken) == (tmp_path / "checkpoint-10", ())
    assert checkpoints.newest_complete(tmp_path / "nothing").path is None


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "weights").write_bytes(b"x" * 10), "weights has 10 bytes instead of 256"),
        (lambda path: (path / "weights").write_bytes(b"x" * 256), "weights does not have the bytes that were written"),
        (lambda path: (path / "shards" / "0").unlink(), "shards/0 is missing"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json cannot be read: "),
        (lambda path: (path / "manifest.json").write_text('{"files": '), "manifest.json cannot be read: "),
        (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json cannot be read: "),
        (lambda path: (path / "manifest.json").write_text("{}"), "manifest.json cannot be read: 'files'"),
    ],
)
def test_a_broken_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, damage: object, reason: str) -> None:
    _, path = write(tmp_path, 1, 2)
    damage(path)
    found = checkpoints.newest_complete(tmp_path)
    assert found.path == tmp_path / "checkpoint-1"
    assert [(each.path, each.reason[: len(reason)]) for each in found.broken] == [(path, reason)]


def test_what_is_half_written_is_no_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, 1)
    fill_folder = tmp_path / "tmp-checkpoint-2"
    fill_folder.mkdir()
    fill(fill_folder)
    (tmp_path / "checkpoint-notes").mkdir()
    assert checkpoints.newest_complete(tmp_path).path == tmp_path / "checkpoint-1"
    checkpoints.remove_temporary(tmp_path)
    assert not fill_folder.exists()


def test_old_checkpoints_are_removed(tmp_path: Path) -> None:
    write(tmp_path, 8, 9, 10, 11)
    checkpoints.remove_old(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-11"]


def full_disk(folder: Path) -> None:
    (folder / "weights").write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def full_in_torch(folder: Path) -> None:
    raise RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed")


def full_in_safetensors(folder: Path) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("failing", [full_disk, full_in_torch, full_in_safetensors])
def test_a_full_disk_is_a_clear_error_and_the_checkpoint_before_stays(tmp_path: Path, failing: object) -> None:
    write(tmp_path, 1)
    with pytest.raises(CheckpointWriteError) as caught:
        checkpoints.write(tmp_path / "checkpoint-2", failing, is_first=True, facts={})
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/checkpoint-2 cannot be written: ")
    assert message.endswith(
        "MB free there); checkpoint-1, the one before, is whole. Make room, then run the same command again."
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_full_disk_is_named_where_the_writer_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 4_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CheckpointWriteError, match="checkpoint-2 cannot be written: No space left on device"):
        checkpoints.write(tmp_path / "checkpoint-2", full_in_torch, is_first=True, facts={})


def test_a_disk_that_fills_up_at_the_very_end_is_no_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flush(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", flush)
    with pytest.raises(CheckpointWriteError, match=r"No space left on device .* there is no checkpoint before it"):
        write(tmp_path, 1)
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_the_code_is_no_full_disk(tmp_path: Path) -> None:
    def wrong(folder: Path) -> None:
        raise TypeError("bug")

    with pytest.raises(TypeError, match="bug"):
        checkpoints.write(tmp_path / "checkpoint-1", wrong, is_first=True, facts={})


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointWriteError, match=r"checkpoint-1 cannot be written: .*Not a directory"):
        write(tmp_path / "file", 1)


def test_manifests_are_readable_json(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 1)
    assert set(json.loads((path / "manifest.json").read_text())) == {"step", "files"}
