"""What a folder of stored images says of itself: encode.json, and its Parquet tables."""

import json
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from opticnerve.data.stored.format import ABOUT, FORMAT, MANIFEST
from opticnerve.errors import DataError, first_line


def read_about(folder: Path) -> dict[str, Any]:
    """Read what made a folder.

    Args:
        folder: of the stored images.

    Raises:
        DataError: nothing was encoded there, the run is not finished, or the file is damaged.
    """
    path = folder / ABOUT
    try:
        about: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{folder}: has no {ABOUT}: name a folder that `opticnerve encode` wrote") from error
    except (OSError, ValueError) as error:
        raise damaged(path, error) from error
    found = cast("dict[str, Any]", about) if isinstance(about, dict) else {}
    if found.get("format") != FORMAT:
        raise DataError(f'{path}: its format is {found.get("format")!r}, and "{FORMAT}" is read: encode again')
    keep = found.get("settings", {}).get("keep")
    if keep not in ("tokens", "features") or "sight" not in found:
        raise DataError(f"{path}: does not say what is stored, tokens or features, and how images were seen")
    if not (folder / MANIFEST).is_file():
        raise DataError(
            f"{folder}: has no {MANIFEST}: the run is not finished. Run the same `opticnerve encode` command again"
        )
    return found


def read_columns(path: Path, *, needs: list[str], without: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """Open a Parquet file, and read columns of it.

    Args:
        path: the file.
        needs: columns that it has to have.
        without: columns that are left on the disk.

    Returns:
        A pyarrow.parquet.ParquetFile and a pyarrow.Table.

    Raises:
        DataError: the file is damaged, or lacks a column.
    """
    try:
        file: Any = cast("Any", pq).ParquetFile(path, memory_map=True)
        missing = set(needs) - set(file.schema_arrow.names)
        if missing:
            raise DataError(f"{path} is damaged (it has no column {', '.join(sorted(missing))}): {_AGAIN}")
        return file, file.read(columns=[name for name in needs if name not in without])
    except (OSError, _ARROW) as error:
        raise damaged(path, error) from error


def read_group(file: Any, group: int, *, columns: list[str], path: Path) -> Any:  # noqa: ANN401 - no types
    """Read some columns of one group of rows.

    Args:
        file: a pyarrow.parquet.ParquetFile.
        group: its number.
        columns: their names.
        path: of the file.

    Raises:
        DataError: the file is damaged.
    """
    try:
        return file.read_row_group(group, columns=columns)
    except (OSError, _ARROW) as error:
        raise damaged(path, error) from error


def release_memory() -> None:
    """Give back what reading columns has left over, which is as much as the columns."""
    cast("Any", pa).default_memory_pool().release_unused()


def damaged(path: Path, error: Exception) -> DataError:
    """Say that a file cannot be read.

    Args:
        path: the file.
        error: what another library said.
    """
    return DataError(f"{path} is damaged ({first_line(error)}): {_AGAIN}")


_ARROW: type[Exception] = cast("Any", pa).ArrowException
_AGAIN = "run the same `opticnerve encode` command again"
