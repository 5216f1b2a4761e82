"""LLaVA-format files: a JSON array, or one JSON object a line, and a folder of images."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from opticnerve.data.samples import Sample
from opticnerve.data.sources.lines import Lines
from opticnerve.data.sources.record import image_names, read_record
from opticnerve.errors import BadSampleError, DataError, first_line


class LlavaSource:
    """The records of one file; each is parsed when it is asked for."""

    def __init__(self, path: str | Path, *, images: str | Path = ".") -> None:
        """Read the file.

        Args:
            path: the JSON or JSON Lines file.
            images: the folder that image names are relative to.

        Raises:
            DataError: the file or the folder is missing, or the file is neither of the two.
        """
        self.path = Path(path)
        self.images = Path(images)
        if not self.images.is_dir():
            raise DataError(f"{self.images}: no such folder of images; it is given for {self.path}")
        text = _text(self.path)
        self._lines = Lines(_array(text, self.path) if text.lstrip()[:1] == b"[" else _lines(text, self.path))

    def __len__(self) -> int:
        """Count the records."""
        return len(self._lines)

    def __getitem__(self, index: int) -> Sample:
        """Read one record.

        Args:
            index: its place in the file, from 0.

        Raises:
            IndexError: there is none there.
            BadSampleError: it is not a conversation.
        """
        name = f"{self.path}[{index}]"
        try:
            record: object = json.loads(self._lines[index])
        except ValueError as error:
            raise BadSampleError(name, f"not JSON: {first_line(error)}") from error
        name = f"{name}{_given_id(record)}"
        images = image_names(record, name=name)
        return read_record(record, [self._image(image, name) for image in images], name=name)

    def _image(self, image: object, name: str) -> Path:
        if not isinstance(image, str) or not image:
            raise BadSampleError(name, f"the name of an image is not text, but {image!r:.80}")
        if image.startswith(("http://", "https://")):
            raise BadSampleError(name, f"{image}: images are read from files: download it first")
        return self.images / image


def _given_id(record: object) -> str:
    """Write the id that a record brings along, which need not be unique."""
    given = cast("dict[str, object]", record).get("id") if isinstance(record, dict) else None
    return "" if given is None else f" {given}"


def _text(path: Path) -> bytes:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty")
    return text.removeprefix(b"\xef\xbb\xbf")


def _array(text: bytes, path: Path) -> Iterable[bytes]:
    try:
        records = cast("list[object]", json.loads(text))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {first_line(error)}") from error
    if not records:
        raise DataError(f"{path}: the file holds no records")
    return (json.dumps(record, ensure_ascii=False).encode() for record in records)


def _lines(text: bytes, path: Path) -> Iterable[bytes]:
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        json.loads(lines[0])
    except ValueError as error:
        raise DataError(f"{path}: neither a JSON array nor one JSON object a line: {first_line(error)}") from error
    return lines
