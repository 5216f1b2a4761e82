"""From what stands on the command line to a source of pictures."""

import re
from collections.abc import Sequence
from glob import has_magic
from pathlib import Path

from opticnerve.data.find import SUFFIXES, walk_files
from opticnerve.data.sources import find_shards
from opticnerve.data.stored.format import ABOUT
from opticnerve.encode.sources.columns import is_bytes
from opticnerve.encode.sources.folder import FilePictures, FolderPictures
from opticnerve.encode.sources.huggingface import HuggingFacePictures
from opticnerve.encode.sources.joined import JoinedPictures
from opticnerve.encode.sources.lists import LIST_SUFFIXES, ListPictures
from opticnerve.encode.sources.parquet import ParquetPictures
from opticnerve.encode.sources.picture import NamedSource, PictureSource
from opticnerve.encode.sources.rows import ARROW_ERRORS, parquet_schema
from opticnerve.encode.sources.tars import TarPictures
from opticnerve.errors import DataError, ImageError

TAR, PARQUET = ".tar", ".parquet"
_IMAGES, _TABLES, _TARS = "images", "Parquet files", "tar files"
_SAVED = ("dataset_info.json", "dataset_dict.json")
_ON_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+(:[\w.-]+){0,2}")
_RANGE = re.compile(r"\{\d+\.\.\d+\}")
_KNOWN = (
    "a folder of images, Parquet or tar files; an image; a list (.txt, .lst, .jsonl); Parquet or tar files by name, "
    "glob or {000..099}; what `save_to_disk` wrote; or org/name of the Hugging Face hub"
)


def open_pictures(texts: Sequence[str]) -> PictureSource:
    """Open what is to be encoded.

    A text is a folder of images (or of Parquet or tar files), an image, a list of images (.txt, .lst, .jsonl), Parquet
    or tar files (one, a glob, or {000..099}), a data set that `save_to_disk` of `datasets` wrote, or its name on the
    hub (org/name, org/name:split, org/name:configuration:split). Behind "#" may stand the column with the images.

    Args:
        texts: one or more of them. The ids of the first stay as they are; those of each further source begin with its
            name and a colon, so that they stay unique and do not depend on what else there is.

    Raises:
        DataError: one of them is not there, or holds no pictures.
    """
    if not texts:
        raise DataError(f"nothing to encode was given: name {_KNOWN}")
    files = [text for text in texts if _is_image(text)]
    sources: list[NamedSource] = []
    for text in texts:
        if text not in files:
            sources.append(_open_one(text))
        elif text == files[0] and not any(isinstance(source, FilePictures) for source in sources):
            sources.append(FilePictures(files))
    return sources[0] if len(sources) == 1 else JoinedPictures(sources)


def _is_image(text: str) -> bool:
    return text.lower().endswith(SUFFIXES) and Path(text).is_file()


def _open_one(text: str) -> NamedSource:
    given, column = text, ""
    if "#" in text and not Path(text).exists():
        given, _, column = text.rpartition("#")
    path = Path(given)
    if path.is_dir():
        if any((path / name).is_file() for name in _SAVED):
            return HuggingFacePictures(given, column=column)
        return _open_folder(path, column)
    if has_magic(given) or _RANGE.search(given):
        return _open_files(find_shards(given), _base(given), path.name, column)
    if path.is_file():
        return _open_file(path, column)
    if path.suffix.lower() in (*SUFFIXES, *LIST_SUFFIXES, TAR, PARQUET) or not _ON_HUB.fullmatch(given):
        raise DataError(f"{given}: no such file or folder. To encode: {_KNOWN}")
    return HuggingFacePictures(given, column=column)


def _open_file(path: Path, column: str) -> NamedSource:
    if path.suffix.lower() in LIST_SUFFIXES:
        return ListPictures(path)
    return _open_files([path], path.parent, path.stem, column)


def _open_files(files: list[Path], base: Path, name: str, column: str) -> NamedSource:
    """Open Parquet or tar files."""
    kinds = {file.suffix.lower() for file in files}
    if kinds == {PARQUET}:
        return ParquetPictures(files, base=base, name=name, column=column)
    if kinds == {TAR}:
        return TarPictures(files, base=base, name=name)
    if kinds <= set(SUFFIXES):
        return FilePictures([str(file) for file in files])
    if len(kinds) > 1 and kinds <= {TAR, PARQUET, *SUFFIXES}:
        raise DataError(f"{base / name}: matches files of several kinds ({', '.join(sorted(kinds))}): name one kind")
    raise DataError(f"{files[0]}: not a source of pictures that is known by its name. To encode: {_KNOWN}")


def _open_folder(folder: Path, column: str) -> NamedSource:
    """Open a folder by what it holds."""
    found = _kinds(folder)
    if len(found) > 1:
        raise DataError(
            f"{folder}: holds {' and '.join(found)}: name those that are meant, such as {folder}/*{PARQUET} or "
            f"{folder}/*{TAR}, a folder further down, or a list of the images"
        )
    if not found:
        raise DataError(f"{folder}: the folder holds no images. Known suffixes: {', '.join((*SUFFIXES, TAR, PARQUET))}")
    if _IMAGES in found:
        return FolderPictures(folder)
    return _open_files(next(iter(found.values())), folder, folder.resolve().name, column)


def _kinds(folder: Path) -> dict[str, list[Path]]:
    """Look for images, Parquet and tar files; of images one is enough."""
    found: dict[str, list[Path]] = {}
    try:
        for path in walk_files(folder, (*SUFFIXES, TAR, PARQUET)):
            kind = {TAR: _TARS, PARQUET: _TABLES}.get(path.suffix.lower(), _IMAGES)
            if kind != _IMAGES or kind not in found:
                found.setdefault(kind, []).append(path)
    except ImageError as error:
        raise DataError(str(error)) from error
    tables = [table for table in found.pop(_TABLES, []) if not _is_encoded(table, folder)]
    # a table of paths beside images is about these
    if tables and (_IMAGES not in found or _has_bytes(tables[0])):
        found[_TABLES] = tables
    return found


def _is_encoded(path: Path, folder: Path) -> bool:
    """Tell whether a table lies in a folder of stored tokens, which may lie in the folder of the pictures."""
    return any((parent / ABOUT).is_file() for parent in path.parents if parent.is_relative_to(folder))


def _has_bytes(table: Path) -> bool:
    try:
        return any(is_bytes(field.type) for field in parquet_schema(str(table))[0])
    except ARROW_ERRORS:
        return True


def _base(pattern: str) -> Path:
    """Return the folder of a pattern before its first glob or range."""
    parts = Path(pattern).parts
    fixed = next(number for number, part in enumerate(parts) if has_magic(part) or _RANGE.search(part))
    return Path(*parts[:fixed])
