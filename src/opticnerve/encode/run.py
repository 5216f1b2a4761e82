"""A run: list the pictures, encode the shards that are missing, and write the manifest."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, cast, runtime_checkable

import opticnerve
from opticnerve.data.stored.format import ABOUT, FORMAT, SHARDS, SOURCES, shard_file, table_path
from opticnerve.encode.encoding import Encoding
from opticnerve.encode.engine import Engine, Work, default_workers, encode_locally, rank_device
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.listing import Listing, make_listing, read_listing
from opticnerve.encode.merge import write_manifest
from opticnerve.encode.settings import EncodeSettings
from opticnerve.encode.shard import Step
from opticnerve.encode.skipped import SkippedShare
from opticnerve.encode.sources import open_pictures
from opticnerve.encode.store import make_folder, write_whole
from opticnerve.encode.tables import read_table
from opticnerve.holding import Hold
from opticnerve.ranks import by_first, gather, launched

SHARD_SIZE = 1000
"""Pictures of a shard."""
MAX_SKIPPED = 0.1
"""Largest share of pictures that may be skipped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What stands in the folder in the end."""

    num_images: int
    """Images in the manifest, duplicates included."""
    num_duplicates: int
    """Pictures that are identical to an earlier one, and share its rows."""
    num_skipped: int
    """Pictures that could not be encoded."""
    done: Step
    """What this run of all processes has done itself."""
    seconds: float
    """That it took."""


@runtime_checkable
class Watcher(Protocol):
    """Hears how a run goes."""

    def listed(self, count: int) -> None:
        """Hear of pictures that were found.

        Args:
            count: how many more.
        """
        ...

    def started(self, listing: Listing, *, num_missing: int) -> None:
        """Hear what is to be done.

        Args:
            listing: every picture.
            num_missing: pictures of the shards that this process encodes.
        """
        ...

    def stepped(self, step: Step) -> None:
        """Hear what was done.

        Args:
            step: since the last one.
        """
        ...


class Deaf:
    """Hears nothing."""

    def listed(self, count: int) -> None:
        """Do nothing."""

    def started(self, listing: Listing, *, num_missing: int) -> None:
        """Do nothing."""

    def stepped(self, step: Step) -> None:
        """Do nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How a run is cut up, and what stops it."""

    shard_size: int = SHARD_SIZE
    """Pictures of a shard: what a process loses when it is killed."""
    max_skipped: float = MAX_SKIPPED
    """Largest share of pictures that may be skipped, 0 to 1."""
    keep_duplicates: bool = False
    """Encode identical files each for itself, and do not look for them."""
    retry_skipped: bool = False
    """Encode the shards anew in which an earlier run skipped pictures."""
    num_workers: int | None = None
    """Processes that decode; None is one less than there are cores."""


def encode_pictures(
    sources: Sequence[str],
    out: str | Path,
    settings: EncodeSettings,
    *,
    limits: Limits | None = None,
    engine: Engine = encode_locally,
    watcher: Watcher | None = None,
) -> Summary:
    """Encode pictures into a folder; the same call goes on where an earlier one was stopped.

    Under torchrun every process calls this, and each encodes its share of the shards.

    Args:
        sources: folders, lists, Parquet files, data sets or tar files: see `open_pictures`.
        out: the folder.
        settings: what images become.
        limits: how the work is cut up, and what stops it.
        engine: who encodes the shards.
        watcher: hears how it goes.

    Raises:
        DataError: a source cannot be listed.
        EncodeError: another run works into the folder, or it was begun with other settings, or too many pictures are
            skipped.
        StoreError: a file cannot be written.
        OpticNerveError: encoder or connector cannot be loaded.
    """
    folder, limits, watcher = Path(out), limits or Limits(), watcher or Deaf()
    _check(limits)
    start = perf_counter()
    with launched() as (rank, count):
        settings = replace(settings, device=rank_device(settings))
        hold = Hold(folder, doing="encoding", error=EncodeError)
        by_first(hold.take)
        try:
            encoding = settings.load()
            work = Work(
                settings=settings,
                sources=tuple(sources),
                folder=folder,
                num_workers=default_workers() if limits.num_workers is None else limits.num_workers,
            )
            by_first(lambda: _begin(work, encoding, limits, watcher))
            listing = read_listing(folder / SOURCES)
            mine = missing_shards(folder, listing)[rank::count]
            gather(None)  # nobody finishes a shard before all have looked
            watcher.started(listing, num_missing=listing.count(mine))
            done = _encode(engine(work, mine, encoding), limits, watcher)
            total = Step()
            for one in gather(done):
                total = total.plus(one)
            num_images, num_skipped = by_first(lambda: _end(folder, listing, limits))
        finally:
            if rank == 0:
                hold.let_go()
    return Summary(
        num_images=num_images,
        num_duplicates=listing.num_duplicates,
        num_skipped=num_skipped,
        done=total,
        seconds=perf_counter() - start,
    )


def missing_shards(folder: Path, listing: Listing) -> list[int]:
    """List the shards that are still to be encoded.

    Args:
        folder: of the stored images.
        listing: every picture.
    """
    numbers = range(listing.num_shards)
    return [
        number
        for number in numbers
        if not (table_path(folder, number).is_file() and (folder / shard_file(number)).is_file())
    ]


def _check(limits: Limits) -> None:
    if limits.shard_size < 1:
        raise EncodeError(f"a shard holds at least 1 picture, got shard_size {limits.shard_size}")
    if not 0 <= limits.max_skipped <= 1:
        raise EncodeError(f"max_skipped is a share from 0 to 1, got {limits.max_skipped:g}")
    if limits.num_workers is not None and limits.num_workers < 0:
        raise EncodeError(f"num_workers is 0 or more, got {limits.num_workers}")


def _begin(work: Work, encoding: Encoding, limits: Limits, watcher: Watcher) -> None:
    """Write what is made and of what, or compare it with what an earlier run wrote."""
    folder = work.folder
    make_folder(folder / SHARDS)
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": opticnerve.__version__,
        "settings": encoding.describe(),
        "sight": encoding.sight.to_dict(),
        "sources": list(work.sources),
        "shard_size": limits.shard_size,
    }
    about = json.loads(json.dumps(about))
    path = folder / ABOUT
    if path.is_file():
        _compare(path, about)
    for stale in [*folder.glob(".*.tmp"), *(folder / SHARDS).glob(".*.tmp")]:
        stale.unlink(missing_ok=True)
    pictures = open_pictures(work.sources)
    make_listing(
        pictures,
        folder / SOURCES,
        shard_size=limits.shard_size,
        keep_duplicates=limits.keep_duplicates,
        on_listed=watcher.listed,
    )
    if not path.is_file():
        write_whole(path, json.dumps(about, indent=2).encode(), what="description")
    if limits.retry_skipped:
        _forget_skipped(folder)


def _compare(path: Path, about: dict[str, Any]) -> None:
    """Refuse to mix images that were made in two ways."""
    try:
        earlier = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
        pairs = [
            (key, (earlier["settings"] | earlier["sight"] | {"shard_size": earlier["shard_size"]}).get(key), value)
            for key, value in (about["settings"] | about["sight"] | {"shard_size": about["shard_size"]}).items()
        ]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise EncodeError(f"{path} is damaged: choose another folder, or delete this one") from error
    changed = [f"{key} was {_short(old)}, now {_short(new)}" for key, old, new in pairs if old != new]
    if changed:
        raise EncodeError(
            f"{path.parent} was begun with other settings: {'; '.join(changed)}. Give those, or choose another folder"
        )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _forget_skipped(folder: Path) -> None:
    for path in sorted((folder / SHARDS).glob("*.parquet")):
        table, _ = read_table(path)
        if table["reason"].null_count < table.num_rows:
            path.unlink()


def _encode(steps: Iterator[Step], limits: Limits, watcher: Watcher) -> Step:
    share, total = SkippedShare(limits.max_skipped), Step()
    for step in steps:
        watcher.stepped(step)
        total = total.plus(step)
        share.note(step)
    return total


def _end(folder: Path, listing: Listing, limits: Limits) -> tuple[int, int]:
    num_images, num_skipped = write_manifest(folder, listing)
    SkippedShare(limits.max_skipped).judge(num_skipped, of=num_images + num_skipped, where=folder)
    return num_images, num_skipped
