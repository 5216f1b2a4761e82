"""Every picture of a source in a table on disk, dealt out to shards; identical ones once."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from opticnerve.encode.sources import Picture
from opticnerve.encode.sources.rows import ARROW_ERRORS
from opticnerve.errors import DataError, first_line

_ARROW: Any = pa  # these have no types
_COMPUTE: Any = pc
_PARQUET: Any = pq
ROWS_TOGETHER: int = 65_536
"""Rows of the table that are read and written at once."""


def listing_schema() -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the columns of the table of sources."""
    return _ARROW.schema(
        [
            ("id", _ARROW.string()),  # unique
            ("path", _ARROW.string()),  # the file that holds the picture
            ("offset", _ARROW.int64()),  # byte in a tar, row in a table, else 0
            ("num_bytes", _ARROW.int64()),  # null where nobody knows yet
            ("shard", _ARROW.int32()),  # null for a duplicate
            ("same_as", _ARROW.int64()),  # row of the first identical picture, or null
            ("sha256", _ARROW.string()),  # of the bytes, where they were read
        ]
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One unit of work: pictures that are encoded into one file."""

    number: int
    """From 0."""
    pictures: tuple[Picture, ...]
    """What is to be encoded, in order."""
    indices: tuple[int, ...]
    """Their rows in the listing."""
    sha256s: tuple[str | None, ...]
    """Their digests, where they were looked at when the pictures were listed."""


class Listing:
    """A table of sources on disk, of which a part is in memory at a time. Pickles.

    Args:
        path: the Parquet file.

    Raises:
        DataError: it is missing, damaged or another table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with _PARQUET.ParquetFile(path) as file:
                about, schema = file.metadata, file.schema_arrow
        except ARROW_ERRORS as error:
            raise DataError(f"{path}: cannot be read as a list of pictures: {first_line(error)}") from error
        if not schema.equals(listing_schema()):
            raise DataError(
                f"{path}: is no list of pictures: its columns are {', '.join(schema.names)}, and not "
                f"{', '.join(listing_schema().names)}"
            )
        self.num_pictures: int = about.num_rows
        """Rows, duplicates included."""
        self.num_duplicates = 0
        """Rows that another one stands for."""
        self.num_shards = 0
        """Units of work."""
        self._starts: list[int] = []  # of each row group, the first row
        self._last_shards: list[int] = []  # and the last shard
        start = 0
        for number in range(about.num_row_groups):
            group = about.row_group(number)
            shards = group.column(schema.names.index("shard")).statistics
            self.num_duplicates += shards.null_count
            self.num_shards = shards.max + 1 if shards.has_min_max else self.num_shards
            self._starts.append(start)
            self._last_shards.append(self.num_shards - 1)
            start += group.num_rows
        self._kept: tuple[int, Any] = (-1, None)

    def __getstate__(self) -> dict[str, Any]:
        """Leave rows behind."""
        return {**self.__dict__, "_kept": (-1, None)}

    def shard(self, number: int) -> Shard:
        """Read the pictures of one shard.

        Args:
            number: from 0.

        Raises:
            IndexError: there is none of that number.
            DataError: the table is damaged.
        """
        if not 0 <= number < self.num_shards:
            raise IndexError(f"shard {number} of {self.num_shards}")
        # The first row group that reaches this shard, and all that begin in it.
        first = bisect_right(self._last_shards, number - 1)
        groups = [
            group
            for group in range(first, len(self._starts))
            if group == first or self._last_shards[group - 1] <= number
        ]
        indices: list[int] = []
        rows: list[dict[str, Any]] = []
        for group in groups:
            table = self._group(group)
            places = table.column("shard").to_numpy()
            chosen: NDArray[Any] = (places == number).nonzero()[0]
            indices += (chosen + self._starts[group]).tolist()
            rows += table.take(_ARROW.array(chosen)).to_pylist()
        return Shard(
            number=number,
            pictures=tuple(map(picture_of_row, rows)),
            indices=tuple(indices),
            sha256s=tuple(row["sha256"] for row in rows),
        )

    def count(self, shards: Iterable[int]) -> int:
        """Count the pictures of some shards.

        Args:
            shards: their numbers.
        """
        wanted = _ARROW.array(list(shards), type=_ARROW.int32())
        counts: Iterator[int | None] = (
            _COMPUTE.sum(_COMPUTE.is_in(batch.column("shard"), wanted)).as_py() for batch in self.rows()
        )
        return sum(count or 0 for count in counts)

    def rows(self) -> Iterator[Any]:
        """Read the table from first to last, as pyarrow.RecordBatch.

        Raises:
            DataError: the table is damaged.
        """
        try:
            with _PARQUET.ParquetFile(self.path) as file:
                yield from file.iter_batches(batch_size=ROWS_TOGETHER)
        except ARROW_ERRORS as error:
            raise _damaged(self.path, error) from error

    def _group(self, number: int) -> Any:  # noqa: ANN401 - a pyarrow.Table
        if self._kept[0] != number:
            try:
                with _PARQUET.ParquetFile(self.path) as file:
                    self._kept = number, file.read_row_group(number, use_threads=False)
            except ARROW_ERRORS as error:
                raise _damaged(self.path, error) from error
        return self._kept[1]


def read_listing(path: Path) -> Listing:
    """Open a listing that is there.

    Args:
        path: the Parquet file.

    Raises:
        DataError: it is missing, damaged or another table.
    """
    return Listing(path)


def picture_of_row(row: dict[str, Any]) -> Picture:
    """Make a picture of its row.

    Args:
        row: of a listing.
    """
    return Picture(id=row["id"], path=row["path"], offset=row["offset"], num_bytes=row["num_bytes"])


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: is damaged: {first_line(error)}. Restore it, or encode into another folder")
