"""The manifest of all shards, made of their tables; duplicates point to the rows of the picture that is like them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from opticnerve.data.stored.format import MANIFEST, SKIPPED, manifest_schema, skipped_schema, table_path
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.listing import Listing
from opticnerve.encode.store import cannot_write
from opticnerve.encode.tables import read_table

_ROWS = 4096
"""Rows that are written at once."""


def write_manifest(folder: Path, listing: Listing) -> tuple[int, int]:
    """Write the manifest and the table of skipped pictures, in the order of the listing; each whole or not at all.

    Args:
        folder: of the stored images.
        listing: every picture; all of its shards are finished.

    Returns:
        Images in the manifest, and skipped pictures.

    Raises:
        EncodeError: a shard's table is damaged, or is not that of its pictures.
        StoreError: a file cannot be written.
    """
    manifest = _Writer(folder / MANIFEST, manifest_schema())
    skipped = _Writer(folder / SKIPPED, skipped_schema())
    try:
        for row in merged_rows(folder, listing):
            (skipped if row["reason"] is not None else manifest).add(row)
        num_skipped = skipped.finish()
        return manifest.finish(), num_skipped  # the manifest says that all is done: it comes last
    finally:
        manifest.close()
        skipped.close()


def merged_rows(folder: Path, listing: Listing) -> Iterator[dict[str, Any]]:
    """Go through the rows of all pictures in the order of the listing, duplicates included.

    Args:
        folder: of the stored images.
        listing: every picture.

    Raises:
        EncodeError: a shard's table is damaged, or is not that of its pictures.
    """
    originals: dict[int, dict[str, Any]] = {index: {} for index in _originals(listing)}
    tables = _rows_of_tables(folder, listing.num_shards)
    for index, listed in enumerate(_listed(listing)):
        if listed["same_as"] is None:
            row = next(tables, None)
            if row is None or row["id"] != listed["id"]:
                raise EncodeError(
                    f"{folder}: picture {index} is {listed['id']}, but the tables of the shards have "
                    f"{row['id'] if row else 'none'} there: delete the folder and encode again"
                )
            if index in originals:
                originals[index] = row
            yield row
        else:
            yield _copy_of(originals[listed["same_as"]], listed)


def _copy_of(original: dict[str, Any], listed: dict[str, Any]) -> dict[str, Any]:
    """Make the row of a duplicate; it is skipped where the other picture has been changed since they were compared."""
    own = {name: listed[name] for name in ("id", "path", "offset")}
    if original["reason"] is None and original["sha256"] != listed["sha256"]:
        reason = f"was identical to {original['id']}, which has other bytes by now: encode it with --keep-duplicates"
        return {**dict.fromkeys(original), **own, "reason": f"{reason} into another folder"}
    return {**original, **own, "same_as": original["id"]}


def _originals(listing: Listing) -> Iterator[int]:
    """Give the pictures that others are identical to."""
    for batch in listing.rows():
        yield from batch.column("same_as").drop_null().to_pylist()


def _listed(listing: Listing) -> Iterator[dict[str, Any]]:
    for batch in listing.rows():
        yield from batch.to_pylist()


def _rows_of_tables(folder: Path, num_shards: int) -> Iterator[dict[str, Any]]:
    for number in range(num_shards):
        yield from read_table(table_path(folder, number))[0].to_pylist()


class _Writer:
    """A Parquet file that grows row by row under another name, and is renamed in the end."""

    def __init__(self, path: Path, schema: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        self._path = path
        self._draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._count = 0
        try:
            self._writer: Any = cast("Any", pq).ParquetWriter(self._draft, schema, compression="zstd")
        except OSError as error:
            raise cannot_write(path, error) from error

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._count += 1
        if len(self._rows) >= _ROWS:
            self._write()

    def finish(self) -> int:
        """Give the file its name, and tell how many rows it has."""
        self._write()
        try:
            self._writer.close()
            self._draft.replace(self._path)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        return self._count

    def close(self) -> None:
        """Leave nothing half-written behind."""
        self._writer.close()
        self._draft.unlink(missing_ok=True)

    def _write(self) -> None:
        try:
            self._writer.write_table(cast("Any", pa.Table).from_pylist(self._rows, schema=self._schema))
        except OSError as error:
            raise cannot_write(self._path, error) from error
        self._rows = []
