"""The column of a table that holds images, and what stands in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from opticnerve.encode.sources.picture import Picture, read_file
from opticnerve.errors import DataError, ImageError

NAMES = ("image", "img", "picture", "image_path", "file_name", "path")
"""What a column of images is called: of several with bytes the first of these is taken; paths are in no other."""


def image_column(schema: Any, *, asked: str, name: str) -> str:  # noqa: ANN401 - a pyarrow.Schema
    """Find the column with the images: bytes, bytes and path together as `datasets` writes them, or paths.

    Args:
        schema: of the table.
        asked: column that was asked for; "" takes the one that there is.
        name: of the table, for the message.

    Raises:
        DataError: there is none, or it cannot be told which.
    """
    if asked:
        if asked not in schema.names:
            raise DataError(f'{name}: has no column "{asked}"; its columns: {", ".join(schema.names)}')
        if not (is_bytes(schema.field(asked).type) or _is_text(schema.field(asked).type)):
            raise DataError(f'{name}: its column "{asked}" has neither bytes nor paths, but {schema.field(asked).type}')
        return asked
    with_bytes = [field.name for field in schema if is_bytes(field.type)]
    with_paths = [field.name for field in schema if _is_text(field.type) and field.name in NAMES]
    known = sorted(set(NAMES) & set(with_bytes), key=NAMES.index) or with_bytes
    if len(with_bytes) > 1 and known is with_bytes:
        raise DataError(
            f"{name}: has several columns with bytes: {', '.join(with_bytes)}. Say which: {name}#{with_bytes[0]}"
        )
    found = known[:1] or sorted(with_paths, key=NAMES.index)[:1]
    if not found:
        raise DataError(
            f"{name}: has no image column: bytes, a struct with bytes and path, or paths in a column called "
            f"{', '.join(NAMES)}; its columns: {', '.join(schema.names)}. Of another name, say which: {name}#COLUMN"
        )
    return found[0]


def is_bytes(kind: Any) -> bool:  # noqa: ANN401 - a pyarrow.DataType
    """Tell whether a column of this type holds the bytes of images, alone or in a struct."""
    types = cast("Any", pa).types
    if types.is_struct(kind):
        names = [field.name for field in kind.fields]
        return "bytes" in names and is_bytes(kind.field(names.index("bytes")).type)
    return any(test(kind) for test in (types.is_binary, types.is_large_binary, types.is_binary_view))


def _is_text(kind: Any) -> bool:  # noqa: ANN401 - as above
    types = cast("Any", pa).types
    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view))


def held_bytes(value: object, folder: Path) -> bytes:
    """Read the image that a cell of a table holds or names.

    Args:
        value: bytes, a path, or a mapping with "bytes" and "path", of which the bytes come first.
        folder: that paths are relative to.

    Raises:
        ImageError: the cell is empty, or the file that it names cannot be read.
    """
    if isinstance(value, Mapping):
        held = cast("Mapping[str, object]", value)
        value = held.get("path") if held.get("bytes") is None else held.get("bytes")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) and value:
        path = value if "://" in value else str(folder / value)
        return read_file(Picture(id=value, path=path, offset=0, num_bytes=None))
    raise ImageError("its row holds no image")
