"""Find the pictures among files and folders."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from opticnerve.errors import ImageError

SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Suffixes of the files that are taken from a folder, in lower case; upper case counts too."""


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
        members = sorted(each for each in _walk(path) if not is_left_out(each)) if path.is_dir() else [path]
        if not members:
            raise ImageError(f"{path}: the folder holds no images. Known suffixes: {', '.join(SUFFIXES)}.")
        found.update(dict.fromkeys(members))
    return list(found)


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise ImageError(f"{error.filename}: the folder cannot be listed: {error.strerror}") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(parent, name)
