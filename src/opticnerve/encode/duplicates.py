"""Which pictures are identical, by their bytes, reading as few of them as possible."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opticnerve.encode.sources import NamedSource, Picture, PictureSource, ends_of
from opticnerve.errors import ImageError

UNKNOWN = -1
"""Stands for a length that nobody knows yet."""
WHOLE_BYTES = 65_536
"""Up to this length all of a picture is read at once; of longer ones the ends are compared first."""
_THREADS = 8
_TOGETHER = 4096
"""Pictures that are handed to the threads at once."""

Numbers = NDArray[np.int64]
Pictures = Callable[[Numbers], Iterable[tuple[int, Picture]]]
"""From sorted rows to each row and its picture, in order."""
OnCompared = Callable[[int], None]
"""Is told how many more pictures were read."""


@dataclass(kw_only=True, slots=True)
class Contents:
    """What is known of the bytes of many pictures, row by row."""

    num_bytes: Numbers
    """Length of each, or `UNKNOWN`."""
    sha256: NDArray[Any]
    """Digest of each, 32 bytes; nothing where all was not read."""
    first_new: int
    """Rows from here on were not there at the last listing."""

    @property
    def is_hashed(self) -> NDArray[np.bool_]:
        """Which rows were read as a whole."""
        return self.sha256 != b""

    def same_as(self) -> Numbers:
        """Return for each row the first row of identical content, which may be itself."""
        first = np.arange(len(self.num_bytes))
        rows = np.flatnonzero(self.is_hashed)
        if len(rows):
            _, firsts, groups = np.unique(self.sha256[rows], return_index=True, return_inverse=True)
            first[rows] = rows[firsts[groups]]
        return first


def compare(contents: Contents, source: PictureSource, pictures: Pictures, on_compared: OnCompared) -> None:
    """Read what is needed to tell which of the new pictures are identical to another one.

    Pictures of one length are compared by their ends, and where these are equal by the SHA-256 of all. A picture whose
    length nobody knows is read as a whole, once. One that cannot be read is like no other.

    Args:
        contents: lengths and digests as far as they are known; filled in here.
        source: gives the bytes.
        pictures: gives the pictures of some rows.
        on_compared: called now and then.
    """
    unknown = np.flatnonzero((contents.num_bytes == UNKNOWN) & ~contents.is_hashed)
    if len(unknown) and unknown[-1] >= contents.first_new:
        _hash(contents, source, pictures(unknown), on_compared, num_threads=1)  # rows of tables: in order
    rows = np.flatnonzero(contents.num_bytes != UNKNOWN)
    rows = rows[_is_shared(contents.num_bytes[rows], rows, contents.first_new)]
    lengths = contents.num_bytes[rows]
    # What has the length of a picture that was read as a whole already is compared with that.
    is_whole = (lengths <= WHOLE_BYTES) | np.isin(lengths, lengths[contents.is_hashed[rows]])
    long = rows[~is_whole]
    long = long[_have_same_ends(long, contents, source, pictures, on_compared)]
    rows = np.union1d(rows[is_whole], long)
    _hash(contents, source, pictures(rows[~contents.is_hashed[rows]]), on_compared)


def _is_shared(keys: NDArray[Any], rows: Numbers, first_new: int) -> NDArray[np.bool_]:
    """Tell which rows have the key of another row, where one of the two is new."""
    if not len(rows):
        return np.zeros(0, dtype=bool)
    _, groups, counts = np.unique(keys, return_inverse=True, return_counts=True)
    has_new = np.bincount(groups, weights=rows >= first_new) > 0
    return ((counts > 1) & has_new)[groups]


def _have_same_ends(
    rows: Numbers, contents: Contents, source: PictureSource, pictures: Pictures, on_compared: OnCompared
) -> NDArray[np.bool_]:
    """Tell which rows have the length and the ends of another one."""
    keys = np.zeros(len(rows), dtype="S20")

    def digest(picture: Picture) -> bytes:
        try:
            ends = source.read_ends(picture) if isinstance(source, NamedSource) else ends_of(source.read(picture))
        except ImageError:
            return b""
        return hashlib.blake2b(str(picture.num_bytes).encode() + b" " + ends, digest_size=20).digest()

    for row, key in _in_threads(digest, pictures(rows), on_compared):
        keys[np.searchsorted(rows, row)] = key
    return _is_shared(keys, rows, contents.first_new) & (keys != b"")


def _hash(
    contents: Contents,
    source: PictureSource,
    pictures: Iterable[tuple[int, Picture]],
    on_compared: OnCompared,
    *,
    num_threads: int = _THREADS,
) -> None:
    """Read pictures as a whole; one whose length is not what it was is left out."""

    def digest(picture: Picture) -> tuple[int, bytes]:
        try:
            data = source.read(picture)
        except ImageError:
            return UNKNOWN, b""
        is_same = picture.num_bytes in (None, len(data))
        return (len(data), hashlib.sha256(data).digest()) if is_same else (UNKNOWN, b"")

    for row, (length, sha256) in _in_threads(digest, pictures, on_compared, num_threads):
        if sha256:
            contents.num_bytes[row], contents.sha256[row] = length, sha256


def _in_threads(
    digest: Callable[[Picture], Any],
    pictures: Iterable[tuple[int, Picture]],
    on_compared: OnCompared,
    num_threads: int = _THREADS,
) -> Iterator[tuple[int, Any]]:
    """Apply a function to many pictures, in order."""
    with ThreadPoolExecutor(num_threads) as pool:
        items = iter(pictures)
        while block := list(islice(items, _TOGETHER)):
            yield from zip([row for row, _ in block], pool.map(digest, [one for _, one in block]), strict=True)
            on_compared(len(block))
