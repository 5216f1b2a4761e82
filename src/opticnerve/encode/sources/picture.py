"""One picture to encode, where its bytes are, and what gives them."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from opticnerve.errors import ImageError

ENDS_BYTES = 4096
"""Bytes at the beginning and at the end of a picture that are compared before all of it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One image to encode; its bytes stay where they are."""

    id: str
    """Unique in the source: the path relative to the folder, the line of a list, "file.parquet/12", "00.tar/a.jpg"."""
    path: str
    """The file that holds it, as it can be opened."""
    offset: int
    """Byte in a tar file, row in a table, 0 for a file of its own."""
    num_bytes: int | None
    """Its length; None where nobody knows before it is read."""


@runtime_checkable
class PictureSource(Protocol):
    """Pictures in a fixed order. Pickles, and leaves open files behind; several threads may read at once."""

    def pictures(self) -> Iterator[Picture]:
        """Go through all pictures; the order is the same each time.

        Raises:
            DataError: the source cannot be read.
        """
        ...

    def read(self, picture: Picture) -> bytes:
        """Read the bytes of one picture.

        Args:
            picture: of this source.

        Raises:
            ImageError: it cannot be read; the reason in one line.
        """
        ...


@runtime_checkable
class NamedSource(PictureSource, Protocol):
    """A source that can be one of several, and can read the ends of a picture alone."""

    name: str
    """Distinguishes its ids from those of other sources."""
    holders: frozenset[str]
    """What pictures that are no files of their own have as their path."""

    def read_ends(self, picture: Picture) -> bytes:
        """Read the first and the last `ENDS_BYTES` of one picture, or all of a shorter one.

        Args:
            picture: of this source; its length is known.

        Raises:
            ImageError: it cannot be read.
        """
        ...


class PicturesInFiles:
    """The reading half of a source whose pictures are all files of their own."""

    holders: frozenset[str] = frozenset()

    def read(self, picture: Picture) -> bytes:
        """Read a file.

        Raises:
            ImageError: it cannot be read.
        """
        return read_file(picture)

    def read_ends(self, picture: Picture) -> bytes:
        """Read the ends of a file.

        Raises:
            ImageError: it cannot be read.
        """
        return read_file_ends(picture)


def ends_of(data: bytes) -> bytes:
    """Cut out the ends of a picture.

    Args:
        data: all of it.
    """
    return data if len(data) <= 2 * ENDS_BYTES else data[:ENDS_BYTES] + data[-ENDS_BYTES:]


def picture_of_file(path: Path, id_: str) -> Picture:
    """Describe a file that is a picture of its own. One that is missing is described too, and cannot be read.

    Args:
        path: the file.
        id_: of the picture.
    """
    try:
        about = path.stat()
        num_bytes = about.st_size if stat.S_ISREG(about.st_mode) else None
    except OSError:
        num_bytes = None
    return Picture(id=printable(id_), path=printable(str(path)), offset=0, num_bytes=num_bytes)


def printable(text: str) -> str:
    r"""Write bytes that are not UTF-8, which names of files may have, as \udcff: tables hold nothing else.

    Args:
        text: a path.
    """
    return text.encode(errors="backslashreplace").decode()


def read_file(picture: Picture) -> bytes:
    """Read a picture that is a file of its own.

    Args:
        picture: its offset is 0.

    Raises:
        ImageError: the file is missing or cannot be read, or it is no file.
    """
    return read_part(picture.path, 0, None)


def read_file_ends(picture: Picture) -> bytes:
    """Read the ends of a picture that lies in a file as it is.

    Args:
        picture: offset and length say where.

    Raises:
        ImageError: the file is missing or cannot be read, or ends before the picture does.
    """
    length = picture.num_bytes or 0
    if length <= 2 * ENDS_BYTES:
        return read_part(picture.path, picture.offset, length)
    head = read_part(picture.path, picture.offset, ENDS_BYTES)
    return head + read_part(picture.path, picture.offset + length - ENDS_BYTES, ENDS_BYTES)


def read_part(path: str, start: int, length: int | None) -> bytes:
    """Read some bytes of a file.

    Args:
        path: the file.
        start: the first.
        length: how many; None for all that follow.

    Raises:
        ImageError: the file is missing or cannot be read, ends before, or is no file.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a pipe must not be opened: that would wait
            raise ImageError("is a folder, a device or a pipe, not an image file")
        with open(path, "rb") as file:  # noqa: PTH123 - a Path for each of a million files takes its time
            file.seek(start)
            data = file.read() if length is None else file.read(length)
    except FileNotFoundError as error:
        raise ImageError(_missing(path)) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageError(f"cannot be read: {reason}") from error
    if length is not None and len(data) < length:
        raise ImageError(f"{path} ends in the middle of it: {len(data):,} of {length:,} bytes are there")
    return data


def _missing(path: str) -> str:
    if "://" in path:
        return "is an address, and images are read from files: download it first"
    if "\\udc" in path:
        return "no such file: its name is not UTF-8. Rename it"
    return "no such file"
