"""Pictures in Parquet files: bytes in a column, or paths."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq

from opticnerve.encode.sources.columns import held_bytes, image_column, is_bytes
from opticnerve.encode.sources.picture import (
    Picture,
    ends_of,
    picture_of_file,
    printable,
    read_file,
    read_file_ends,
)
from opticnerve.encode.sources.rows import ARROW_ERRORS, ParquetRows, parquet_schema
from opticnerve.errors import DataError, ImageError, first_line


class ParquetPictures:
    """The rows of Parquet files, file after file.

    How long an image is that lies in a row is not known before it is read. Rows are read in order, a few at a time:
    each process that takes a share of them reads all of them.

    Args:
        files: the Parquet files.
        base: the folder that their names in the ids are relative to.
        name: of the source.
        column: with the images; "" takes the one that there is.

    Raises:
        DataError: the first file cannot be read, or it has no such column.
    """

    def __init__(self, files: Sequence[Path], *, base: Path, name: str, column: str = "") -> None:
        self.files = tuple(files)
        self.base = base
        self.name = name
        self.holders = frozenset(printable(str(file)) for file in files)
        self.column = image_column(_opened(self.files[0])[0], asked=column, name=str(self.files[0]))
        self._rows = ParquetRows(self.column)

    def pictures(self) -> Iterator[Picture]:
        """Count the rows of all files; where they are paths, read these.

        Raises:
            DataError: a file cannot be read, or has no such column.
        """
        for file in self.files:
            schema, num_rows = _opened(file)
            column = image_column(schema, asked=self.column, name=str(file))
            holder, prefix = printable(str(file)), printable(file.relative_to(self.base).as_posix())
            if is_bytes(schema.field(column).type):
                for row in range(num_rows):
                    yield Picture(id=f"{prefix}/{row}", path=holder, offset=row, num_bytes=None)
                continue
            for row, path in enumerate(self._paths(file)):
                if path and "://" not in path:
                    yield picture_of_file(file.parent / path, f"{prefix}/{row}")
                else:
                    yield Picture(id=f"{prefix}/{row}", path=holder, offset=row, num_bytes=None)

    def read(self, picture: Picture) -> bytes:
        """Read the image of a row, or the file that it names.

        Raises:
            ImageError: it cannot be read, or the row is empty.
        """
        if picture.path not in self.holders:
            return read_file(picture)
        try:
            cell = self._rows.cell(picture.path, picture.offset)
        except ARROW_ERRORS as error:
            raise ImageError(f"its row cannot be read: {first_line(error)}") from error
        return held_bytes(cell, Path(picture.path).parent)

    def read_ends(self, picture: Picture) -> bytes:
        """Read the ends of an image.

        Raises:
            ImageError: it cannot be read.
        """
        return ends_of(self.read(picture)) if picture.path in self.holders else read_file_ends(picture)

    def _paths(self, file: Path) -> Iterator[str | None]:
        try:
            with cast("Any", pq).ParquetFile(file) as opened:
                for batch in opened.iter_batches(columns=[self.column], use_threads=False):
                    yield from batch.column(0).to_pylist()
        except ARROW_ERRORS as error:
            raise DataError(f"{file}: cannot be read: {first_line(error)}") from error


def _opened(file: Path) -> tuple[Any, int]:
    try:
        return parquet_schema(str(file))
    except ARROW_ERRORS as error:
        raise DataError(f"{file}: cannot be read as a Parquet file: {first_line(error)}") from error
