"""Pictures in tar files without compression, such as WebDataset shards: read where they lie."""

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from opticnerve.data.find import SUFFIXES
from opticnerve.data.sources import is_plain_tar
from opticnerve.encode.sources.picture import Picture, printable, read_file_ends, read_part
from opticnerve.errors import DataError, ImageError, first_line


class TarPictures:
    """The image files in tar files, in the order in which they lie there.

    A file that is damaged ends where it is; the damage is listed as one more picture that cannot be read.

    Args:
        files: the tar files.
        base: the folder that their names in the ids are relative to.
        name: of the source.

    Raises:
        DataError: a file is compressed, or no tar file.
    """

    def __init__(self, files: Sequence[Path], *, base: Path, name: str) -> None:
        self.files = tuple(files)
        self.base = base
        self.name = name
        self.holders = frozenset(printable(str(file)) for file in files)
        _check(self.files[0])

    def pictures(self) -> Iterator[Picture]:
        """Read the headers of all files.

        Raises:
            DataError: a file is compressed, or no tar file.
        """
        for file in self.files:
            _check(file)
            yield from self._members(file)

    def read(self, picture: Picture) -> bytes:
        """Read a member.

        Raises:
            ImageError: it cannot be read, or stands for damage.
        """
        if picture.num_bytes is None:
            raise ImageError(f"the tar file is damaged at byte {picture.offset:,}: what follows is lost")
        return read_part(picture.path, picture.offset, picture.num_bytes)

    def read_ends(self, picture: Picture) -> bytes:
        """Read the ends of a member.

        Raises:
            ImageError: it cannot be read.
        """
        return read_file_ends(picture)

    def _members(self, path: Path) -> Iterator[Picture]:
        holder, prefix = printable(str(path)), printable(path.relative_to(self.base).as_posix())
        seen: set[str] = set()
        with tarfile.open(path, "r:") as file:
            while (member := _next(file)) is not None:
                cast("Any", file).members.clear()  # else all headers stay in memory
                name = printable(member.name)
                if not member.isreg() or not _is_image(name):
                    continue
                if name in seen:
                    name = f"{name}@{member.offset_data}"
                seen.add(name)
                yield Picture(id=f"{prefix}/{name}", path=holder, offset=member.offset_data, num_bytes=member.size)
            # The reader takes what it does not understand behind the first member for the end.
            if _rest(path, file.offset).strip(b"\0"):
                yield Picture(id=prefix, path=holder, offset=file.offset, num_bytes=None)


def _next(file: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return file.next()
    except tarfile.TarError:
        return None


def _rest(path: Path, offset: int) -> bytes:
    """Read the block in which a tar file ends, which should be empty; of one that is cut off before, say so."""
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() < offset:
            return b"cut off"
        file.seek(offset)
        return file.read(tarfile.BLOCKSIZE)


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    is_hidden = any(part.startswith(".") for part in path.parts if part != "..")
    return name.lower().endswith(SUFFIXES) and not is_hidden


def _check(file: Path) -> None:
    try:
        if not is_plain_tar(file):
            raise DataError(f"{file}: not a tar file without compression: unpack it first")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {first_line(error)}") from error
