"""Listing a source: written whole, and later only added to."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from opticnerve.encode.duplicates import UNKNOWN, Contents, Numbers, compare
from opticnerve.encode.listing_table import (
    ROWS_TOGETHER,
    Listing,
    Shard,
    listing_schema,
    picture_of_row,
    read_listing,
)
from opticnerve.encode.sources import Picture, PictureSource
from opticnerve.encode.store import cannot_write
from opticnerve.errors import DataError

__all__ = ["Listing", "Shard", "listing_schema", "make_listing", "read_listing"]

_ARROW: Any = pa  # these have no types
_COMPUTE: Any = pc
_PARQUET: Any = pq
_COLUMNS = ("id", "path", "offset", "num_bytes")


def _ignore(count: int) -> None:
    del count


def make_listing(
    source: PictureSource,
    path: Path,
    *,
    shard_size: int,
    keep_duplicates: bool,
    on_listed: Callable[[int], None] = _ignore,
    on_compared: Callable[[int], None] = _ignore,
) -> Listing:
    """List all pictures of a source, or add those that are new to a listing that is there.

    A picture is new when its id is. What the listing holds already keeps its row and its shard, whatever became of the
    picture; new pictures go to new shards. Of the picture's bytes only as much is read as it takes to find duplicates.

    Args:
        source: gives the pictures.
        path: the Parquet file; its folder exists. No other process writes it at the same time.
        shard_size: pictures of a shard, duplicates not counted.
        keep_duplicates: encode each of several identical pictures.
        on_listed: called now and then with how many more pictures were found.
        on_compared: called now and then with how many more pictures were read to find duplicates.

    Raises:
        DataError: the source cannot be read, has no pictures, or gives one id to two; or the listing is damaged.
        StoreError: the listing cannot be written.
    """
    old = read_listing(path) if path.exists() else None
    draft, whole = path.with_name(f".{path.name}.draft"), path.with_name(f".{path.name}.tmp")
    try:
        num_new = _write(draft, _schema(), _new_pictures(source, old, on_listed))
        if not num_new and old is not None:
            return old
        _check_ids(draft)
        rows = _Rows(old, draft)
        contents = _contents(rows, num_new)
        if not keep_duplicates:
            compare(contents, source, rows.pictures, on_compared)
        _write(whole, listing_schema(), _dealt(rows, contents, shard_size))
        whole.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        draft.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)
    return read_listing(path)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of the old listing, and the new ones behind them."""

    old: Listing | None
    draft: Path

    @property
    def num_old(self) -> int:
        return 0 if self.old is None else self.old.num_pictures

    @property
    def num_old_shards(self) -> int:
        return 0 if self.old is None else self.old.num_shards

    def batches(self) -> Iterator[tuple[int, Any]]:
        """Give the first row of each batch, and the batch, which has all columns only where it is old."""
        start = 0
        for batch in () if self.old is None else self.old.rows():
            yield start, batch
            start += len(batch)
        with _PARQUET.ParquetFile(self.draft) as file:
            for batch in file.iter_batches(batch_size=ROWS_TOGETHER):
                yield start, batch
                start += len(batch)

    def pictures(self, rows: Numbers) -> Iterator[tuple[int, Picture]]:
        """Give the pictures of some rows, in order."""
        if not len(rows):
            return
        for start, batch in self.batches():
            first, last = np.searchsorted(rows, (start, start + len(batch)))
            chosen = rows[first:last]
            table = batch.select(_COLUMNS).take(_ARROW.array(chosen - start))
            yield from zip(chosen.tolist(), map(picture_of_row, table.to_pylist()), strict=True)


def _schema() -> Any:  # noqa: ANN401 - pyarrow has no types
    return _ARROW.schema([listing_schema().field(name) for name in _COLUMNS])


def _new_pictures(source: PictureSource, old: Listing | None, on_listed: Callable[[int], None]) -> Iterator[Any]:
    """Give the pictures of a source that are not listed yet, as record batches."""
    known = None if old is None else _ARROW.chunked_array([batch.column("id") for batch in old.rows()])
    num_pictures = 0
    for batch in _batches(source.pictures()):
        num_pictures += len(batch)
        on_listed(len(batch))
        yield batch if known is None else batch.filter(_COMPUTE.invert(_COMPUTE.is_in(batch.column("id"), known)))
    if not num_pictures:
        raise DataError("the source holds no pictures: name one that does")


def _batches(pictures: Iterator[Picture]) -> Iterator[Any]:
    columns: tuple[list[Any], ...] = ([], [], [], [])
    for picture in _readable(pictures):
        values = (picture.id, picture.path, picture.offset, picture.num_bytes)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
        if len(columns[0]) == ROWS_TOGETHER:
            yield _batch(columns)
            columns = ([], [], [], [])
    if columns[0]:
        yield _batch(columns)


def _readable(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Tell an error in reading from one in writing."""
    try:
        yield from pictures
    except OSError as error:
        raise DataError(f"the source cannot be read on: {error}") from error


def _batch(columns: Iterable[Any]) -> Any:  # noqa: ANN401 - a pyarrow.RecordBatch
    arrays = [_ARROW.array(column, type=field.type) for column, field in zip(columns, _schema(), strict=True)]
    return _ARROW.RecordBatch.from_arrays(arrays, schema=_schema())


def _write(path: Path, schema: Any, batches: Iterable[Any]) -> int:  # noqa: ANN401 - a pyarrow.Schema
    """Write a Parquet file and put it on the disk; returns its rows."""
    count = 0
    with path.open("wb") as file:
        with _PARQUET.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in batches:
                if len(batch):
                    writer.write_batch(batch)
                    count += len(batch)
        file.flush()
        os.fsync(file.fileno())
    return count


def _check_ids(draft: Path) -> None:
    ids = _PARQUET.read_table(draft, columns=["id"]).column("id")
    if len(_COMPUTE.unique(ids)) == len(ids):
        return
    counts = _COMPUTE.value_counts(ids)
    several = counts.filter(_COMPUTE.greater(counts.field("counts"), 1))[0].as_py()
    raise DataError(
        f'{several["counts"]} pictures have the id "{several["values"]}": ids are unique. Where sources overlap, '
        f'name each picture once; else list the pictures in a .jsonl file, with an "id" each'
    )


def _contents(rows: _Rows, num_new: int) -> Contents:
    """Gather what is known of the bytes of all rows."""
    total = rows.num_old + num_new
    num_bytes = np.full(total, UNKNOWN, dtype=np.int64)
    sha256: NDArray[Any] = np.zeros(total, dtype="S32")
    for start, batch in rows.batches():
        num_bytes[start : start + len(batch)] = batch.column("num_bytes").fill_null(UNKNOWN).to_numpy()
        if start < rows.num_old:
            for row, text in enumerate(batch.column("sha256").to_pylist(), start=start):
                sha256[row] = bytes.fromhex(text or "")
    return Contents(num_bytes=num_bytes, sha256=sha256, first_new=rows.num_old)


def _dealt(rows: _Rows, contents: Contents, shard_size: int) -> Iterator[Any]:
    """Give all rows with their shards, as record batches."""
    same_as = contents.same_as()
    is_copy = same_as != np.arange(len(same_as))
    is_mine = ~is_copy
    is_mine[: rows.num_old] = False
    shards = rows.num_old_shards + (np.cumsum(is_mine) - 1) // shard_size
    for start, batch in rows.batches():
        here = slice(start, start + len(batch))
        digests = contents.sha256[here].tolist()
        hexes = [digest.ljust(32, b"\0").hex() if digest else None for digest in digests]
        unknown: NDArray[np.bool_] = contents.num_bytes[here] == UNKNOWN
        arrays = {
            "num_bytes": _ARROW.array(contents.num_bytes[here], mask=unknown),
            "sha256": _ARROW.array(hexes, type=_ARROW.string()),
            "shard": _ARROW.array(shards[here].astype(np.int32), mask=is_copy[here]),
            "same_as": _ARROW.array(same_as[here], mask=~is_copy[here]),
        }
        if start < rows.num_old:
            arrays |= {name: batch.column(name) for name in ("shard", "same_as")}
        columns = [arrays[name] if name in arrays else batch.column(name) for name in listing_schema().names]
        yield _ARROW.RecordBatch.from_arrays(columns, schema=listing_schema())
