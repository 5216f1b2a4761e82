"""Exact match by kind of question, and how far chance could move it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALL = "all"
"""Kind of the score over every question."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How many questions of a kind are answered right."""

    kind: str
    """Of the questions, or `ALL`."""
    num_questions: int
    """Questions asked."""
    num_right: int
    """Answers that match."""
    low: float
    """Lower end of the 95 % interval of the share, 0 to 1."""
    high: float
    """Upper end of it."""

    @property
    def share(self) -> float:
        """Share of the answers that match, 0 to 1."""
        return self.num_right / self.num_questions


def is_right(given: str, wanted: str) -> bool:
    """Say whether two answers are the same, runs of blanks and a full stop at the end aside.

    >>> is_right(" two  circles.", "two circles"), is_right("Two circles", "two circles")
    (True, False)
    """
    return _plain(given) == _plain(wanted)


def score(graded: Sequence[tuple[str, str, bool]], *, seed: int = 0, num_resamples: int = 1000) -> tuple[Score, ...]:
    """Count right answers by kind, with a bootstrap interval over images.

    Questions about one image stand or fall together, so images are drawn anew, not questions.

    Args:
        graded: for each question: the image's name, the kind, and whether the answer is right.
        seed: of the resampling.
        num_resamples: times that the images are drawn anew.

    Returns:
        One score for each kind, in order of first use, and one over all, if there are several kinds.
    """
    images = {name: index for index, name in enumerate(dict.fromkeys(image for image, _, _ in graded))}
    kinds = list(dict.fromkeys(kind for _, kind, _ in graded))
    names = [*kinds, ALL] if len(kinds) > 1 else kinds
    right, total = np.zeros((len(images), len(names))), np.zeros((len(images), len(names)))
    for image, kind, is_match in graded:
        columns = {kinds.index(kind), len(names) - 1}
        for column in columns:
            total[images[image], column] += 1
            right[images[image], column] += is_match
    low, high = _interval(right, total, rng=np.random.default_rng(seed), num_resamples=num_resamples)
    return tuple(
        Score(
            kind=name,
            num_questions=int(total[:, column].sum()),
            num_right=int(right[:, column].sum()),
            low=float(low[column]),
            high=float(high[column]),
        )
        for column, name in enumerate(names)
    )


def _interval(
    right: np.ndarray, total: np.ndarray, *, rng: np.random.Generator, num_resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    num_images = len(right)
    shares = np.full((num_resamples, right.shape[1]), np.nan)
    for row in shares:
        times = np.bincount(rng.integers(num_images, size=num_images), minlength=num_images)
        asked = times @ total
        # A rare kind may be missing from what was drawn: that draw says nothing about it.
        np.divide(times @ right, asked, out=row, where=asked > 0)
    low, high = np.nanpercentile(shares, [2.5, 97.5], axis=0)
    return low, high


def _plain(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")
