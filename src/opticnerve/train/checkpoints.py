"""Checkpoints that are whole or not there: written under another name, listed, flushed to disk, then renamed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError

from opticnerve.errors import first_line
from opticnerve.ranks import gather
from opticnerve.train.errors import CheckpointWriteError

PREFIX = "checkpoint-"
"""A whole checkpoint is a folder of this name and a step."""
TEMPORARY = "tmp-"
"""What the name of a folder that is being written begins with."""
MANIFEST = "manifest.json"
"""Sizes and digests of the other files, and what the caller adds."""
WRITE_ERRORS = (OSError, RuntimeError, SafetensorError)
"""What a full disk looks like: torch and safetensors have errors of their own for it, which do not always say so."""
_FULL_BYTES = 1_000_000
"""With less than this, a disk is full."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A checkpoint that cannot be used."""

    path: Path
    """Its folder."""
    reason: str
    """What is wrong with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The checkpoints of a folder."""

    path: Path | None
    """The newest one that is whole; None where there is none."""
    broken: tuple[Broken, ...]
    """Newer ones that are not."""


def temporary(final: Path) -> Path:
    """Name the folder that is written before it gets its final name.

    Args:
        final: the final name.
    """
    return final.with_name(TEMPORARY + final.name)


def write(final: Path, fill: Callable[[Path], None], *, is_first: bool, facts: Mapping[str, object]) -> None:
    """Write a folder that appears under its name only when it is whole; every process calls it.

    Args:
        final: its name; a folder that has it already is replaced.
        fill: this process's part of the work, on the temporary folder.
        is_first: this process makes, lists and renames the folder.
        facts: what else the manifest says; JSON.

    Raises:
        CheckpointWriteError: some process failed; it is raised in all of them, and the temporary folder is removed.
    """
    folder = temporary(final)
    steps = (partial(_empty, folder), None), (partial(fill, folder),) * 2, (partial(_seal, folder, final, facts), None)
    for by_first, by_others in steps:
        reason = _reason(by_first if is_first else by_others, final.parent)
        reasons = [reason for reason in gather(reason) if reason]
        if reasons:
            _fail(final, reasons[0], is_first=is_first)


def _reason(work: Callable[[], None] | None, place: Path) -> str:
    """Do some work; return why it failed, or nothing."""
    try:
        if work is not None:
            work()
    except WRITE_ERRORS as error:
        is_full = place.is_dir() and shutil.disk_usage(place).free < _FULL_BYTES
        own = error.strerror if isinstance(error, OSError) else None
        return own or ("No space left on device" if is_full else first_line(error))
    return ""


def _fail(final: Path, reason: str, *, is_first: bool) -> None:
    """Remove what is half written, and say what is left."""
    if is_first:
        shutil.rmtree(temporary(final), ignore_errors=True)
    free = shutil.disk_usage(final.parent).free if final.parent.is_dir() else 0
    found = newest_complete(final.parent)
    before = f"{found.path.name}, the one before, is whole" if found.path else "there is no checkpoint before it"
    raise CheckpointWriteError(
        f"{final} cannot be written: {reason} ({free / 1e6:,.0f} MB free there); {before}."
        " Make room, then run the same command again."
    )


def newest_complete(folder: Path) -> Found:
    """Find the newest checkpoint that is whole.

    Args:
        folder: where checkpoints are.
    """
    broken: list[Broken] = []
    for path in sorted(_all(folder), key=step_of, reverse=True):
        reason = verify(path)
        if not reason:
            return Found(path=path, broken=tuple(broken))
        broken.append(Broken(path=path, reason=reason))
    return Found(path=None, broken=tuple(broken))


def verify(path: Path) -> str:
    """Compare a folder with its manifest.

    Args:
        path: a checkpoint.

    Returns:
        What is wrong with it; empty where it is whole.
    """
    try:
        files = read_manifest(path)["files"]
        for name, listed in files.items():
            file = path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != listed["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {listed['bytes']}"
            if _sha256(file) != listed["sha256"]:
                return f"{name} does not have the bytes that were written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} cannot be read: {first_line(error)}"
    return ""


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a folder.

    Args:
        path: a checkpoint.
    """
    return cast(dict[str, Any], json.loads((path / MANIFEST).read_text(encoding="utf-8")))


def step_of(path: Path) -> int:
    """Read the step from a checkpoint's name.

    Args:
        path: a checkpoint.
    """
    return int(path.name.removeprefix(PREFIX))


def remove_old(folder: Path, *, keep: int) -> None:
    """Remove all but the newest checkpoints, and what a run that was killed has left half written.

    Args:
        folder: where checkpoints are.
        keep: how many stay.
    """
    for path in sorted(_all(folder), key=step_of, reverse=True)[keep:]:
        # Renamed first: a folder that is half removed must not look like a checkpoint.
        doomed = temporary(path)
        path.rename(doomed)
    remove_temporary(folder)


def remove_temporary(folder: Path) -> None:
    """Remove what a run that was killed has left half written.

    Args:
        folder: where checkpoints are.
    """
    for path in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit()]


def _empty(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _seal(folder: Path, final: Path, facts: Mapping[str, object]) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {p.relative_to(folder).as_posix(): {"bytes": p.stat().st_size, "sha256": _sha256(p)} for p in paths}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({**facts, "files": files}, indent=1), encoding="utf-8")
    for path in [*paths, manifest, *(p for p in folder.rglob("*") if p.is_dir()), folder]:
        _flush(path)
    if final.exists():
        shutil.rmtree(final)
    folder.rename(final)
    _flush(final.parent)


def _flush(path: Path) -> None:
    """Wait until a file or a folder's entries are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
