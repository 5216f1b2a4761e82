"""Which of two cells is better, on the same images and seeds; and which cells beat their baselines."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from opticnerve.arena.answers import AnswerTable
from opticnerve.arena.clusters import count
from opticnerve.arena.intervals import NUM_DRAWS, Interval, SeedNoise, alike_ends, are_alike, draw, what_varies
from opticnerve.errors import SpecError

Verdict = Literal["better", "worse", "not separable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A cell less another."""

    cell: str
    """The first."""
    other: str
    """What it is compared with."""
    interval: Interval
    """Share of the first less share of the other, -1 to 1; widened for the number of comparisons by
    `compare_with_best` only."""
    p: float
    """Two-sided: how often chance alone makes a difference as large; adjusted where several are made."""
    verdict: Verdict
    """Of the first, at the error rate asked for."""


def compare(
    table: AnswerTable,
    cell: str,
    other: str,
    *,
    rng: np.random.Generator,
    error_rate: float = 0.05,
    noise: SeedNoise | None = None,
    num_draws: int = NUM_DRAWS,
) -> Difference:
    """Compare two cells, each image and seed with itself.

    However the draws fall, p is never below that of a sign test on the images that tell the cells apart: five images
    that all favour one cell are not enough.

    Args:
        table: answers of both.
        cell: the first.
        other: what it is compared with.
        rng: source of all randomness.
        error_rate: how often equal cells are called different, 0 to 1.
        noise: of the seeds, measured over more cells than these two.
        num_draws: of the bootstrap.

    Raises:
        SpecError: they were not asked the same, or there is no answer.
        UnknownNameError: a cell is not in the table.
    """
    counts = count(table, [cell, other])
    gain = counts.right[0] - counts.right[1]
    estimate = gain.sum() / (counts.asked.sum() * len(gain))
    low, high, p = -1.0, 1.0, 1.0  # one image says nothing about others
    if len(counts.asked) > 1:
        drawn = draw(gain, counts.asked, rng=rng, num_draws=num_draws, noise=noise)
        low, high = np.quantile(drawn, [error_rate / 2, 1 - error_rate / 2])
        beyond = min((drawn <= 0).sum(), (drawn >= 0).sum())
        least = 0.5 ** (np.count_nonzero(gain.sum(0)) - 1)
        p = min(1.0, max(2 * (float(beyond) + 1) / (num_draws + 1), float(least)))
        if are_alike(gain, counts.asked):
            ends = alike_ends(float(estimate), -1, 1, num_images=len(counts.asked), error_rate=error_rate)
            low, high = min(low, ends[0]), max(high, ends[1])
        if p >= error_rate:
            low, high = min(low, 0.0), max(high, 0.0)  # what is not separable from 0 has 0 in its interval
    interval = Interval(estimate=float(estimate), low=float(low), high=float(high), covers=what_varies(counts))
    return Difference(cell=cell, other=other, interval=interval, p=p, verdict=_verdict(p, float(estimate), error_rate))


def compare_many(
    table: AnswerTable,
    pairs: Sequence[tuple[str, str]],
    *,
    rng: np.random.Generator,
    error_rate: float = 0.05,
    noise: SeedNoise | None = None,
    num_draws: int = NUM_DRAWS,
) -> tuple[Difference, ...]:
    """Compare many pairs, such as every method with every baseline: all verdicts together keep the error rate (Holm).

    Args:
        table: answers.
        pairs: a cell and what it is compared with.
        rng: source of all randomness.
        error_rate: how often any of the equal pairs is called different, 0 to 1.
        noise: of the seeds, measured over many cells.
        num_draws: of the bootstrap.

    Raises:
        SpecError: cells were not asked the same, or so many pairs need more draws.
        UnknownNameError: a cell is not in the table.
    """
    _check_draws(num_draws, len(pairs), error_rate)
    found = [
        compare(table, cell, other, rng=rng, error_rate=error_rate, noise=noise, num_draws=num_draws)
        for cell, other in pairs
    ]
    return adjust(found, error_rate=error_rate)


def compare_with_best(
    table: AnswerTable,
    cells: Sequence[str],
    *,
    rng: np.random.Generator,
    error_rate: float = 0.05,
    noise: SeedNoise | None = None,
    num_draws: int = NUM_DRAWS,
) -> tuple[Difference, ...]:
    """Compare cells with the one among them that scores highest.

    The highest of many equals is so by luck, and each of the others has all of them to be passed by. Verdicts and
    intervals allow for that: a cell as good as any is called worse no more often than stated, however many compete.

    Source: Hsu, Constrained simultaneous confidence intervals for multiple comparisons with the best, 1984. Instead of
    its joint distribution, each cell's chances of being passed are added up (Bonferroni).

    Args:
        table: answers.
        cells: two or more; of several that score highest, the first is the best.
        rng: source of all randomness.
        error_rate: how often a cell as good as any is called worse, 0 to 1.
        noise: of the seeds, measured over many cells.
        num_draws: of the bootstrap.

    Returns:
        Each other cell less the best, in the order given.

    Raises:
        SpecError: cells were not asked the same, or so many cells need more draws.
        UnknownNameError: a cell is not in the table.
    """
    _check_draws(num_draws, len(cells) - 1, error_rate)
    shares = dict(zip(cells, count(table, cells).share.tolist(), strict=True))
    best = max(cells, key=lambda cell: shares[cell])
    # each may be passed by all others but itself; a two-sided comparison gives half of its error to each side
    chances = max(1.0, (len(cells) - 1) / 2)
    found = [
        compare(table, cell, best, rng=rng, error_rate=error_rate / chances, noise=noise, num_draws=num_draws)
        for cell in cells
        if cell != best
    ]
    return tuple(replace(one, p=min(1.0, one.p * chances)) for one in found)


def adjust(found: Sequence[Difference], *, error_rate: float = 0.05) -> tuple[Difference, ...]:
    """Judge comparisons again that were made together (Holm); intervals stay as they are.

    Args:
        found: each judged by itself.
        error_rate: how often any of the equal pairs is called different, 0 to 1.
    """
    return tuple(
        replace(one, p=p, verdict=_verdict(p, one.interval.estimate, error_rate))
        for one, p in zip(found, holm([one.p for one in found]), strict=True)
    )


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """Adjust p values for their number.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)

    Args:
        ps: of each comparison.

    Returns:
        In the same order, each at most 1.
    """
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = least
    return tuple(adjusted)


def enough_draws(num_pairs: int, *, error_rate: float) -> int:
    """Count the draws that tell so many comparisons apart.

    Args:
        num_pairs: how many comparisons.
        error_rate: of all together, 0 to 1.
    """
    return max(NUM_DRAWS, int(20 * num_pairs / error_rate))


def _check_draws(num_draws: int, num_pairs: int, error_rate: float) -> None:
    if num_pairs * 2 / (num_draws + 1) >= error_rate:
        raise SpecError(
            f"{num_draws} draws cannot separate anything among {num_pairs} comparisons at an error rate of"
            f" {error_rate:g}: give num_draws={enough_draws(num_pairs, error_rate=error_rate)} or compare fewer"
        )


def _verdict(p: float, estimate: float, error_rate: float) -> Verdict:
    if p >= error_rate:
        return "not separable"
    return "better" if estimate > 0 else "worse"
