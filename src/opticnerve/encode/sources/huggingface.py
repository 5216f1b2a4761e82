"""Pictures in data sets of the Hugging Face library: what `save_to_disk` wrote, or from the hub."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from opticnerve.data.sources.huggingface import import_datasets, quiet_datasets
from opticnerve.encode.sources.columns import held_bytes, image_column, is_bytes
from opticnerve.encode.sources.picture import Picture, ends_of
from opticnerve.encode.sources.rows import ARROW_ERRORS
from opticnerve.errors import DataError, ImageError, first_line

_ROWS = 1000
"""Rows that are looked at together; their images are not read."""


class HuggingFacePictures:
    """The rows of a data set, part after part; images are not decoded by the library.

    Args:
        text: a folder that `save_to_disk` wrote; or a name on the hub: "org/name", "org/name:split" or
            "org/name:configuration:split". Without a split, all of them are taken.
        column: with the images; "" takes the one that there is.

    Raises:
        DataError: the data set cannot be opened, or it has no such column.
    """

    def __init__(self, text: str, *, column: str = "") -> None:
        self.name = Path(text.partition(":")[0]).name if not Path(text).exists() else Path(text).resolve().name
        self._folder = Path(text) if Path(text).exists() else Path()
        self._parts = {
            path: (prefix, *_with_column(data, path, column)) for path, (prefix, data) in _loaded(text).items()
        }
        self.holders = frozenset(self._parts)

    def pictures(self) -> Iterator[Picture]:
        """Go through the rows.

        Raises:
            DataError: the data set cannot be read.
        """
        for path, (prefix, data, column) in self._parts.items():
            row = 0
            try:
                for table in data.iter(batch_size=_ROWS):
                    for length in _lengths(table.column(column)):
                        yield Picture(id=f"{prefix}{row}", path=path, offset=row, num_bytes=length)
                        row += 1
            except ARROW_ERRORS as error:
                raise DataError(f"{path}: cannot be read on behind row {row}: {first_line(error)}") from error

    def read(self, picture: Picture) -> bytes:
        """Read the image of a row, or the file that it names.

        Raises:
            ImageError: it cannot be read, or the row is empty.
        """
        _, data, column = self._parts[picture.path]
        try:
            cell = data[picture.offset].column(column)[0].as_py()
        except ARROW_ERRORS as error:
            raise ImageError(f"its row cannot be read: {first_line(error)}") from error
        return held_bytes(cell, self._folder)

    def read_ends(self, picture: Picture) -> bytes:
        """Read the ends of an image.

        Raises:
            ImageError: it cannot be read.
        """
        return ends_of(self.read(picture))


def _with_column(data: Any, path: str, asked: str) -> tuple[Any, str]:  # noqa: ANN401 - a datasets.Dataset
    """Leave nothing but the image column, as it is stored."""
    datasets = import_datasets()
    column = image_column(data.features.arrow_schema, asked=asked, name=path)
    data = data.select_columns([column])
    if isinstance(data.features[column], datasets.Image):
        data = data.cast_column(column, datasets.Image(decode=False))
    return data.with_format("arrow"), column


def _lengths(values: Any) -> list[int | None]:  # noqa: ANN401 - a pyarrow.ChunkedArray
    """Count the bytes of images, which stand in the table's offsets; None where a cell holds no bytes."""
    compute = cast("Any", pc)
    if not is_bytes(values.type):
        return [None] * len(values)
    if cast("Any", pa).types.is_struct(values.type):
        values = compute.struct_field(values, "bytes")
    return compute.binary_length(values).to_pylist()


def _loaded(text: str) -> dict[str, tuple[str, Any]]:
    """Open all parts: for the name of each, what its ids begin with, and its rows."""
    datasets = import_datasets()
    name, _, rest = text.partition(":")
    configuration, _, split = rest.rpartition(":")
    try:
        with quiet_datasets():
            if Path(text).exists():
                saved: Any = datasets.load_from_disk(text)
                if isinstance(saved, datasets.Dataset):
                    return {text: ("", saved)}
                return {f"{text.rstrip('/')}/{part}": (f"{part}/", saved[part]) for part in sorted(saved)}
            found: Any = datasets.load_dataset(name, configuration or None, split=split or None)
    except Exception as error:  # the library raises errors of any kind
        missing = "" if Path(text).exists() else "is no file or folder here, and "
        raise DataError(f"{text}: {missing}cannot be opened as a Hugging Face data set: {first_line(error)}") from error
    if isinstance(found, datasets.Dataset):
        return {text: (f"{split}/", found)}
    middle = f":{configuration}" if configuration else ""
    return {f"{name}{middle}:{part}": (f"{part}/", found[part]) for part in sorted(found)}
