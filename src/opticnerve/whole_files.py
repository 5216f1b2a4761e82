"""Files that are either whole or not there."""

import errno
import os
from pathlib import Path

from opticnerve.errors import OpticNerveError


def write_whole(path: Path, data: bytes, *, what: str, error: type[OpticNerveError], remedy: str) -> None:
    """Write a file under another name first, so that a reader never sees half of it.

    Args:
        path: what is there is replaced; folders above it are made.
        data: its content.
        what: it is, as it stands in the message: "chart".
        error: what is raised.
        remedy: what to do where it cannot be written, as it stands in the message.

    Raises:
        OpticNerveError: of the kind that was asked for: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as reason:
        raise error(f"cannot write the {what} {path}: {reason_of(reason, remedy=remedy)}") from reason


def reason_of(error: OSError, *, remedy: str) -> str:
    """Say why a file cannot be written, and what to do.

    Args:
        error: what the system said.
        remedy: what to do, unless the disk is full.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full. Free some space and run again: what is finished is kept"
    return f"{(error.strerror or str(error)).lower()}. {remedy}"
