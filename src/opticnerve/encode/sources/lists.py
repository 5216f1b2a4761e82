"""Image lists: one path a line, or one JSON object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from opticnerve.encode.sources.picture import Picture, PicturesInFiles, picture_of_file
from opticnerve.errors import DataError, first_line

LIST_SUFFIXES = (".txt", ".lst", ".jsonl")
"""What the name of a list ends with."""


class ListPictures(PicturesInFiles):
    """The image files of a list, in its order; paths are relative to the list's folder.

    A line of a .txt or .lst file is a path, and the picture's id. A line of a .jsonl file has the path under "image"
    (or several, as a list) and may have an "id"; without one the path is the id. Lines without "image" are about text
    alone. A picture that stands in the list again under the same id is listed once.

    Args:
        path: the list.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem

    def pictures(self) -> Iterator[Picture]:
        """Go through the list.

        Raises:
            DataError: it cannot be read, or a line is not what it should be.
        """
        seen: dict[str, str] = {}
        for place, id_, image in self._named():
            if id_ not in seen:
                seen[id_] = image
                yield picture_of_file(self.path.parent / image, id_)
            elif seen[id_] != image:
                raise DataError(f'{place}: the id "{id_}" is that of another image too, {seen[id_]}: ids are unique')

    def _named(self) -> Iterator[tuple[str, str, str]]:
        """Give the place in the list, the id and the path of each picture."""
        for number, line in enumerate(self._lines(), start=1):
            text, place = line.rstrip("\r\n"), f"{self.path}, line {number}"
            if not text.strip():
                continue
            if self.path.suffix.lower() != ".jsonl":
                yield place, text, text
            else:
                for id_, image in _images(text, place):
                    yield place, id_, image

    def _lines(self) -> Iterator[str]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="\n") as file:
                yield from file
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: a list of images is text in UTF-8, and this is not: {error}") from error


def _images(text: str, place: str) -> list[tuple[str, str]]:
    """Read the ids and paths of one line of JSON."""
    try:
        record: object = json.loads(text)
    except ValueError as error:
        raise DataError(f"{place}: not JSON: {first_line(error)}") from error
    if not isinstance(record, dict):
        raise DataError(f'{place}: not an object with "image", but {type(record).__name__}')
    fields = cast("dict[str, object]", record)
    image = fields.get("image")
    images = cast("list[object]", image) if isinstance(image, list) else [] if image is None else [image]
    paths = [path for path in images if isinstance(path, str) and path]
    if len(paths) < len(images):
        raise DataError(f'{place}: "image" is not the path of an image, but {image!r:.80}')
    given = fields.get("id")
    if given is None:
        return [(path, path) for path in paths]
    return [(str(given) if number == 0 else f"{given}/{number}", path) for number, path in enumerate(paths)]
