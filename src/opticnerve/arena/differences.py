"""Which of two cells is better, on the same images and seeds; and which cells beat their baselines."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from opticnerve.arena.answers import AnswerTable
from opticnerve.arena.clusters import count
from opticnerve.arena.intervals import NUM_DRAWS, Interval, SeedNoise, draw, what_varies
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
    """Share of the first less share of the other, -1 to 1; not widened for the number of comparisons."""
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
        p = min(1.0, 2 * (float(beyond) + 1) / (num_draws + 1))
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
    least = len(pairs) * 2 / (num_draws + 1)
    if least >= error_rate:
        raise SpecError(
            f"{num_draws} draws cannot separate anything among {len(pairs)} comparisons at an error rate of"
            f" {error_rate:g}: give num_draws={int(20 * len(pairs) / error_rate)} or compare fewer"
        )
    found = [
        compare(table, cell, other, rng=rng, error_rate=error_rate, noise=noise, num_draws=num_draws)
        for cell, other in pairs
    ]
    return adjust(found, error_rate=error_rate)


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


def _verdict(p: float, estimate: float, error_rate: float) -> Verdict:
    if p >= error_rate:
        return "not separable"
    return "better" if estimate > 0 else "worse"
