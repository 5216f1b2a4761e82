"""WebDataset shards: tar files in which the members of a sample share a name and follow one another.

The tar files are read here and not with the "webdataset" builder of `datasets`: that one needs the same members and
the same JSON fields in all samples, ends at the first broken JSON, and copies all shards before the first sample.
"""

import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from glob import glob, has_magic
from pathlib import Path
from typing import Any, TypeVar, cast

from opticnerve.data.find import SUFFIXES
from opticnerve.data.samples import IMAGE, Message, Sample
from opticnerve.data.sources.lines import Lines
from opticnerve.data.sources.record import read_record
from opticnerve.errors import BadSampleError, DataError, first_line

Taken = TypeVar("Taken")

_KEY = re.compile(r"^((?:.*/)?[^./][^.]*)\.([^/]+)$")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def find_shards(shards: str) -> list[Path]:
    """List the files that a pattern means.

    Args:
        shards: a path; {000..099} stands for its numbers, and *, ? and [...] are globs.

    Returns:
        Ranges in order, globs sorted.

    Raises:
        DataError: a file is missing, or a glob finds none.
    """
    found: list[Path] = []
    for path in _ranges(shards):
        # pathlib globs below a folder only, and a pattern may begin anywhere.
        names = sorted(glob(path, recursive=True)) if has_magic(path) else [path]  # noqa: PTH207
        members = [Path(name) for name in names]
        if not members or not members[0].is_file():
            raise DataError(f"{path}: no such shard")
        found += members
    return found


def _ranges(pattern: str) -> list[str]:
    match = _RANGE.search(pattern)
    if match is None:
        return [pattern]
    first, last = match[1], match[2]
    numbers = (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
    return [path for number in numbers for path in _ranges(pattern[: match.start()] + number + pattern[match.end() :])]


class WebDatasetSource:
    """The samples of tar files that are not compressed: read once for where each lies, then by number."""

    def __init__(self, shards: str) -> None:
        """Read the headers of all shards.

        Args:
            shards: see `find_shards`.

        Raises:
            DataError: a shard is missing, or compressed.
        """
        self.shards = find_shards(shards)
        self._places = Lines(self._index())

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Args:
            index: from 0.

        Raises:
            IndexError: there is none there.
            BadSampleError: it is not a conversation, or its shard ends in the middle of it.
        """
        number, key, places = cast("tuple[int, str, dict[str, list[int]]]", json.loads(self._places[index]))
        shard = self.shards[number]
        if not places:
            raise BadSampleError(str(shard), key)
        members: dict[str, bytes] = {}
        with shard.open("rb") as file:
            for ending, (offset, size) in places.items():
                file.seek(offset)
                members[ending] = file.read(size)
        return _sample(f"{shard}:{key}", members)

    def _index(self) -> Iterator[bytes]:
        for number, shard in enumerate(self.shards):
            if not is_plain_tar(shard):
                raise DataError(f"{shard}: not a tar file without compression: unpack it, or read it as a stream")
            for found in _groups(shard, "r:", lambda _, member: [member.offset_data, member.size]):
                key, places = (found.reason, {}) if isinstance(found, BadSampleError) else found
                yield json.dumps([number, key, places]).encode()


class WebDatasetStream:
    """The samples of tar files one after another, compressed or not."""

    def __init__(self, shards: str) -> None:
        """Find the shards.

        Args:
            shards: see `find_shards`.

        Raises:
            DataError: a shard is missing.
        """
        self.shards = find_shards(shards)

    def __iter__(self) -> Iterator[Sample | BadSampleError]:
        """Read the samples; a shard that is damaged ends where it is."""
        for shard in self.shards:
            for found in _groups(shard, "r|*", _content):
                if isinstance(found, BadSampleError):
                    yield found
                    continue
                try:
                    yield _sample(f"{shard}:{found[0]}", found[1])
                except BadSampleError as error:
                    yield error


def _groups(
    shard: Path, mode: str, take: Callable[[tarfile.TarFile, tarfile.TarInfo], Taken]
) -> Iterator[tuple[str, dict[str, Taken]] | BadSampleError]:
    """Give the key and the members of each sample; at last what is wrong with the file, if it is damaged."""
    key, members = "", cast("dict[str, Taken]", {})
    try:
        with cast("Any", tarfile).open(shard, mode) as opened:
            file = cast("tarfile.TarFile", opened)
            for member in file:
                match = _KEY.match(member.name) if member.isfile() else None
                if match is None:
                    continue
                if match[1] != key and members:
                    yield key, members
                    members = {}
                key = match[1]
                members[match[2].lower()] = take(file, member)
    except (tarfile.TarError, OSError, EOFError) as error:
        yield BadSampleError(str(shard), f"the shard is damaged behind {key or 'its start'}: {first_line(error)}")
        return
    if members:
        yield key, members


def _content(file: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = file.extractfile(member)
    return b"" if content is None else content.read()


def is_plain_tar(shard: Path) -> bool:
    """Tell whether a file is a tar file without compression, whose members can be read where they lie.

    Args:
        shard: the file.
    """
    try:
        with tarfile.open(shard, "r:"):
            return True
    except tarfile.ReadError:
        return False


def _sample(name: str, members: Mapping[str, bytes]) -> Sample:
    endings = sorted((ending for ending in members if f".{ending}".endswith(SUFFIXES)), key=_natural)
    images = tuple(members[ending] for ending in endings)
    record = _parsed(name, members["json"]) if "json" in members else {}
    if "txt" in members and not {"conversations", "messages"} & record.keys():
        caption = members["txt"].decode("utf-8", errors="replace")
        return Sample(name, (Message("user", IMAGE * len(images)), Message("assistant", caption)), images)
    if "json" not in members:
        raise BadSampleError(name, f"has no .json and no .txt, only {', '.join(members)}")
    return read_record(record, images, name=name)


def _parsed(name: str, text: bytes) -> dict[str, object]:
    try:
        record: object = json.loads(text)
    except ValueError as error:
        raise BadSampleError(name, f"its .json is not JSON: {first_line(error)}") from error
    if not isinstance(record, dict):
        raise BadSampleError(name, f"its .json is not an object with keys, but {type(record).__name__}")
    return cast("dict[str, object]", record)


def _natural(ending: str) -> list[tuple[int, str]]:
    """Sort 2.jpg before 10.jpg."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", ending)]
