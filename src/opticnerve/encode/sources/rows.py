"""Single rows of Parquet files, a few at a time in memory."""

import os
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

_ROWS: int = 16
"""Rows that are read at once: images may be large, and a row group may hold thousands."""
_KEPT = 4
"""Such batches that stay, for rows that are asked for a little out of order."""
_BUFFER_BYTES = 2**20


class ParquetRows:
    """Cells of one column by file and row. Rows one after another are read once; one that lies before costs a restart.

    Several threads may ask, but gain nothing, and restarts where they get out of order. In a process that was forked
    off, files are opened anew.

    Args:
        column: which.
    """

    def __init__(self, column: str) -> None:
        self.column = column
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind."""
        return {"column": self.column}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin anew."""
        self.column = state["column"]
        self._forget()

    def cell(self, path: str, row: int) -> object:
        """Read one cell.

        Args:
            path: the file.
            row: from 0.

        Raises:
            OSError: the file cannot be read.
            pyarrow.ArrowException: it is damaged.
            IndexError: it has no such row.
        """
        if self._process != os.getpid():
            self._forget()
        with self._lock:
            for start, values in self._kept:
                if path == self._path and start <= row < start + len(values):
                    return values[row - start].as_py()
            if path != self._path or row < self._next or self._group(row) > self._group(self._next) + 1:
                self._open(path, row)
            while self._next <= row:
                values = next(self._batches).column(0)
                self._kept.append((self._next, values))
                self._next += len(values)
            start, values = self._kept[-1]
            return values[row - start].as_py()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._path, self._next, self._starts = "", 0, [0]
        self._batches: Iterator[Any] = iter(())
        self._kept: deque[tuple[int, Any]] = deque(maxlen=_KEPT)

    def _open(self, path: str, row: int) -> None:
        """Begin at the row group of a row."""
        self._path = ""
        self._kept.clear()
        file: Any = cast("Any", pq).ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        if not 0 <= row < sum(sizes):
            raise IndexError(f"row {row} of {sum(sizes)}")
        self._starts = [sum(sizes[:number]) for number in range(len(sizes))]
        first = self._group(row)
        groups = range(first, len(sizes))
        self._batches = iter(
            file.iter_batches(batch_size=_ROWS, row_groups=groups, columns=[self.column], use_threads=False)
        )
        self._path, self._next = path, self._starts[first]

    def _group(self, row: int) -> int:
        """Number the row group in which a row lies."""
        return max(number for number, start in enumerate(self._starts) if start <= row)


def parquet_schema(path: str) -> tuple[Any, int]:
    """Read the columns and the number of rows of a file.

    Args:
        path: the file.

    Returns:
        A pyarrow.Schema, and the number.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowException: it is no Parquet file.
    """
    with cast("Any", pq).ParquetFile(path) as file:
        return file.schema_arrow, file.metadata.num_rows


ARROW_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    cast("Any", pa).ArrowException,
    IndexError,
    StopIteration,
)
"""What reading a damaged file may raise."""
