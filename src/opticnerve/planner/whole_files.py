"""Files of a plan: whole, or not there."""

from pathlib import Path

from opticnerve import whole_files
from opticnerve.errors import PlanError


def write_whole(path: Path, data: bytes, *, what: str) -> None:
    """Write a file so that a reader never sees half of it.

    Args:
        path: what is there is replaced; folders above it are made.
        data: its content.
        what: it is, as it stands in the message.

    Raises:
        PlanError: it cannot be written.
    """
    whole_files.write_whole(path, data, what=what, error=PlanError, remedy="Name another folder with --out")
