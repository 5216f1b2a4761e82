"""The log of bad samples, and how many of them are too many."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from opticnerve.errors import BadSampleError, DataError, TooManyBadSamplesError

NUM_SHOWN = 20
"""Bad samples that an error lists."""

MIN_SEEN = 100
"""Samples that are seen before their share of bad ones is judged."""


def read_bad_samples(path: str | Path) -> dict[str, str]:
    """Read a log of bad samples.

    Several processes may have written the same sample, and one may have died in the middle of a line.

    Args:
        path: the log; none there means no bad samples.

    Returns:
        For each bad sample, once, its reason.

    Raises:
        DataError: it cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    found: dict[str, str] = {}
    for line in lines:
        try:
            entry = cast("dict[str, Any]", json.loads(line))
            found.setdefault(str(entry["id"]), str(entry["reason"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found


@dataclass(slots=True)
class BadSamples:
    """Counts the samples that a process has seen, and names the bad ones in a log that many processes share."""

    path: Path
    """The log: JSON Lines of `id` and `reason`."""
    max_share: float
    """Largest share of bad samples that is put up with, 0 to 1."""
    num_seen: int = 0
    """Samples of this process, good and bad."""
    num_bad: int = 0
    """The bad ones among them."""
    known: dict[str, str] = field(default_factory=dict[str, str])
    """Bad samples that the log names already, with their reasons."""

    def __post_init__(self) -> None:
        """Read what an earlier run has written, so that no sample is named twice."""
        self.known = read_bad_samples(self.path)

    def good(self) -> None:
        """Count a good sample."""
        self.num_seen += 1

    def bad(self) -> None:
        """Count a bad sample.

        Raises:
            TooManyBadSamplesError: there are clearly too many.
        """
        self.num_seen += 1
        self.num_bad += 1
        # Few samples may have many bad ones by chance: three standard deviations of their number are put up with.
        expected = self.max_share * self.num_seen
        enough = MIN_SEEN if self.max_share else 1
        if self.num_seen >= enough and self.num_bad > expected + 3 * math.sqrt(expected):
            raise self.too_many(self.num_bad, of=self.num_seen)

    def name(self, error: BadSampleError) -> None:
        """Name a bad sample in the log, if it is not there yet.

        Args:
            error: what is wrong with it.

        Raises:
            DataError: the log cannot be written.
        """
        if error.sample not in self.known:
            self.known[error.sample] = error.reason
            _append(self.path, {"id": error.sample, "reason": error.reason})

    def too_many(self, bad: int, *, of: int) -> TooManyBadSamplesError:
        """Make the error that lists the bad samples.

        Args:
            bad: how many there are.
            of: among how many.
        """
        return TooManyBadSamplesError(_sentence(bad, of, self.max_share, self.known, self.path))


def check_bad_share(path: str | Path, *, num_seen: int, max_share: float) -> dict[str, str]:
    """Judge the bad samples of all processes together, exactly; for the end of a run.

    Args:
        path: the log.
        num_seen: samples that all processes together have seen, each counted once.
        max_share: largest share of bad samples that is put up with, 0 to 1.

    Returns:
        For each bad sample its reason.

    Raises:
        TooManyBadSamplesError: their share is larger.
        DataError: the log cannot be read.
    """
    found = read_bad_samples(path)
    if len(found) > max_share * num_seen:
        raise TooManyBadSamplesError(_sentence(len(found), num_seen, max_share, found, path))
    return found


def _sentence(bad: int, of: int, max_share: float, found: Mapping[str, str], path: str | Path) -> str:
    shown = [f"  {name}: {reason}" for name, reason in list(found.items())[:NUM_SHOWN]]
    more = [f"  ... all {len(found):,} are in {path}"] if len(found) > NUM_SHOWN else []
    head = f"{bad:,} of {of:,} samples are bad, more than max_bad_share = {max_share:g} allows: mend them, or raise it"
    return "\n".join([head, *shown, *more])


def _append(path: Path, entry: Mapping[str, str]) -> None:
    """Write a whole line at once, so that the lines of several processes do not mix."""
    line = (json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8", errors="replace")
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)
        finally:
            os.close(file)
    except OSError as error:
        raise DataError(f"{path}: the log of bad samples cannot be written: {error.strerror or error}") from error
