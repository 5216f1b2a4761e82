"""Files that are either whole or not there."""

import os
from pathlib import Path

from opticnerve.errors import PlanError


def write_whole(path: Path, data: bytes, *, what: str) -> None:
    """Write a file under another name first, so that a reader never sees half of it.

    Args:
        path: what is there is replaced; folders above it are made.
        data: its content.
        what: it is, as it stands in the message.

    Raises:
        PlanError: it cannot be written.
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
        raise PlanError(f"cannot write the {what} {path}: {error.strerror}. Name another folder with --out") from error
