"""Find the pictures among files and folders."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from opticnerve.errors import ImageError

SUFFIXES = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif",
    ".tiff", ".webp",
)  # fmt: skip
"""Suffixes of the files that are taken from a folder, in lower case; upper case counts too. HEIC is among them, so
that such a picture is not left out in silence where its plug-in is missing."""


def _none(path: Path) -> bool:
    del path
    return False


def find_images(paths: Iterable[str | Path], *, is_left_out: Callable[[Path], bool] = _none) -> list[Path]:
    """List the pictures that are meant by files and folders, each once.

    Args:
        paths: a file is taken as it is, whatever it is called, so that a wrong one is reported when it is read. Of a
            folder, the files with a known suffix are taken, subfolders included, in sorted order; hidden files and
            folders (".thumbnails", "._photo.jpg") are left out and links to folders are not followed.
        is_left_out: tells which files of a folder are not meant; by default all are.

    Returns:
        Paths in the order of `paths`.

    Raises:
        ImageError: a folder cannot be listed, or holds no picture.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        members = [each for each in walk_files(path) if not is_left_out(each)] if path.is_dir() else [path]
        if not members:
            raise ImageError(f"{path}: the folder holds no images. Known suffixes: {', '.join(SUFFIXES)}.")
        found.update(dict.fromkeys(members))
    return list(found)


def walk_files(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Path]:
    """Go through the files of a folder and its subfolders, in sorted order, one folder in memory at a time.

    Hidden files and folders are left out, and links to folders are not followed.

    Args:
        folder: where to begin.
        suffixes: that the files have, in lower case; upper case counts too.

    Raises:
        ImageError: a folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, _is_folder(entry), entry.is_symlink()) for entry in entries)
    except OSError as error:
        raise ImageError(f"{error.filename}: the folder cannot be listed: {error.strerror}") from error
    for name, is_folder, is_link in found:
        if name.startswith("."):
            continue
        if not is_folder and name.lower().endswith(suffixes):
            yield folder / name
        elif is_folder and not is_link:
            yield from walk_files(folder / name, suffixes)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # a link that leads to itself is no folder, and no error
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()
