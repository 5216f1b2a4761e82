"""Files of the report: whole, or not there."""

import os
from pathlib import Path

from opticnerve.errors import DataError


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file under another name first, so that a reader never sees half of it.

    Args:
        path: what is there is replaced.
        data: its content.

    Returns:
        The path.

    Raises:
        DataError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write the report {path}: {error.strerror}. Copy the arena to a folder of yours"
        ) from error
    return path
