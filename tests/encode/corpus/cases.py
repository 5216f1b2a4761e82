"""What a nasty file is made of, and what has to become of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Pixels = Mapping[tuple[int, int], tuple[int, int, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What has to become of a file: a size and perhaps some pixels, or a reason why there are none."""

    size: tuple[int, int] | None = None
    """Height and width in pixels of the picture as a person sees it; None where there is none."""
    pixels: Pixels = field(default_factory=dict)
    """Red, green and blue at some places (row, column)."""
    tolerance: int = 0
    """By how much each of red, green and blue may differ: 0 unless the format loses something."""
    reason: str = ""
    """A regular expression for the whole reason, without the file's name; empty where there is a picture."""
    is_listed: bool = True
    """A walk through the folder comes upon it as a file with the name of a picture; a folder it does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One nasty file."""

    write: Callable[[Path], object]
    """Makes it at a path. Where the machine or the user does not allow it, it makes nothing or raises OSError."""
    outcome: Outcome
    """What has to become of it."""


def whole(
    make: Callable[[], bytes], height_px: int, width_px: int, pixels: Pixels | None = None, *, tolerance: int = 0
) -> Case:
    """A file that has to be decoded."""
    outcome = Outcome(size=(height_px, width_px), pixels=pixels or {}, tolerance=tolerance)
    return Case(write=lambda path: path.write_bytes(make()), outcome=outcome)


def refused(make: Callable[[], bytes], reason: str) -> Case:
    """A file that has to be refused."""
    return Case(write=lambda path: path.write_bytes(make()), outcome=Outcome(reason=reason))
