"""Files of the report: whole, or not there."""

from pathlib import Path

from opticnerve import whole_files
from opticnerve.errors import DataError


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file so that a reader never sees half of it.

    Args:
        path: what is there is replaced.
        data: its content.

    Returns:
        The path.

    Raises:
        DataError: it cannot be written.
    """
    whole_files.write_whole(path, data, what="report", error=DataError, remedy="Copy the arena to a folder of yours")
    return path
