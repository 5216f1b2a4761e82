"""How far other images and other seeds could move a share, or a difference of two.

Questions about one image stand or fall together, so images are drawn anew as clusters. A handful of seeds cannot be
drawn anew: two seeds have three outcomes, and their spread comes out too small by (seeds - 1) / seeds. Their part is
drawn from Student's t with the spread that was seen. Noise of one seed on one image sits in both parts; it is taken out
of the images' part, as in an analysis of variance, or an A/A test would hardly ever fail.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opticnerve.arena.answers import AnswerTable
from opticnerve.arena.clusters import Clusters, count
from opticnerve.errors import SpecError

NUM_DRAWS: int = 10_000
"""Draws of an interval: tells error rates of 0.0002 apart."""
_CHUNK = 500  # draws at once, for memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A number and how far chance could move it."""

    estimate: float
    """Seen in the data."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    covers: str
    """What was varied: "images and seeds", or "images" where there is one seed only: then training again may move the
    number further than this says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedNoise:
    """How much the choice of the seed moves the difference of two cells."""

    variance: float
    """Of one seed's difference."""
    freedom: int
    """Degrees of freedom that it was measured with."""


def share_interval(
    table: AnswerTable,
    cell: str,
    *,
    rng: np.random.Generator,
    error_rate: float = 0.05,
    num_draws: int = NUM_DRAWS,
    among: Sequence[str] = (),
) -> Interval:
    """Give the share of right answers of a cell with its interval.

    Args:
        table: answers.
        cell: name.
        rng: source of all randomness.
        error_rate: share of intervals that miss, 0 to 1.
        num_draws: of the bootstrap.
        among: cells that tell together how far seeds move a share, which two seeds of one cell hardly do; exact where
            seeds move every cell about as much. The cell alone if empty.

    Raises:
        SpecError: seeds were not asked the same, or there is no answer.
        UnknownNameError: the cell is not in the table.
    """
    counts = count(table, [cell])
    (right,), (estimate,) = counts.right, counts.share
    low, high = 0.0, 1.0
    num_images = len(counts.asked)
    if estimate in (0, 1) or (num_images > 1 and are_alike(right, counts.asked)):
        low, high = alike_ends(float(estimate), 0, 1, num_images=num_images, error_rate=error_rate)
    elif num_images > 1:
        noise = share_noise(table, among) if among and len(right) > 1 else None
        moved = draw(right, counts.asked, rng=rng, num_draws=num_draws, noise=noise)
        low, high = np.quantile(moved, [error_rate / 2, 1 - error_rate / 2]).clip(0, 1)  # a share ends there
    return Interval(estimate=float(estimate), low=float(low), high=float(high), covers=what_varies(counts))


def draw(
    right: NDArray[np.float64],
    asked: NDArray[np.float64],
    *,
    rng: np.random.Generator,
    num_draws: int,
    noise: SeedNoise | None = None,
) -> NDArray[np.float64]:
    """Draw a share as other images and seeds would have shown it.

    Args:
        right: right answers, or differences of them: seeds, images.
        asked: questions about each image; two images or more.
        rng: source of all randomness.
        num_draws: how many.
        noise: of the seeds, where more than these cells tell about it.

    Returns:
        Drawn shares.
    """
    num_seeds, num_images = right.shape
    sums = right.mean(0)
    estimate = sums.sum() / asked.sum()
    off = (right - estimate * asked) / asked.mean()  # mean over all is 0
    by_seed, by_image = off.mean(1), off.mean(0)
    kept, moved = 1.0, np.zeros(num_draws)
    if num_seeds > 1:
        rest = off - by_seed[:, None] - by_image
        rest_variance = (rest**2).sum() / ((num_seeds - 1) * (num_images - 1)) / num_seeds
        seen = by_image.var(ddof=1)
        kept = np.sqrt(max(0.0, seen - rest_variance) / seen) if seen > 0 else 0.0
        own = noise or SeedNoise(variance=float(by_seed.var(ddof=1)), freedom=num_seeds - 1)
        moved = rng.standard_t(own.freedom, num_draws) * np.sqrt(own.variance / num_seeds)
    kept *= np.sqrt(num_images / (num_images - 1))
    for start in range(0, num_draws, _CHUNK):
        part = slice(start, min(start + _CHUNK, num_draws))
        drawn = rng.integers(num_images, size=(len(moved[part]), num_images), dtype=np.int32)
        moved[part] += kept * (sums[drawn].sum(1) / asked[drawn].sum(1) - estimate)
    return estimate + moved


def are_alike(right: NDArray[np.float64], asked: NDArray[np.float64]) -> bool:
    """Say whether all images and seeds show the same share, so that nothing varies that could be drawn anew.

    Args:
        right: right answers, or differences of them: seeds, images.
        asked: questions about each image.
    """
    shares = right / asked
    return bool((shares == shares[0, 0]).all())


def alike_ends(value: float, least: float, most: float, *, num_images: int, error_rate: float) -> tuple[float, float]:
    """Give the ends of an interval for images that all show the same: the others may be as far off as can be.

    Args:
        value: what all show.
        least: the smallest that an image could show.
        most: the largest.
        num_images: how many show it.
        error_rate: share of intervals that miss, 0 to 1.

    Returns:
        Lower and upper end; exact where the value is the smallest or the largest.
    """
    others = 1 - (error_rate / 2) ** (1 / num_images)  # share of images that may be otherwise, and none was seen
    return value - others * (value - least), value + others * (most - value)


def seed_noise(table: AnswerTable, cells: Sequence[str]) -> SeedNoise:
    """Measure what seeds do to differences, over many cells together: two seeds of two cells alone say little.

    Exact where seeds move every cell about as much.

    Args:
        table: answers.
        cells: at least two.

    Raises:
        SpecError: there are fewer than two cells or seeds, or they were not asked the same.
        UnknownNameError: a cell is not in the table.
    """
    counts = count(table, cells)
    shares = counts.right.sum(2) / counts.asked.sum()
    if min(shares.shape) < 2:
        raise SpecError(
            f"the noise of seeds needs two cells and two seeds or more, not {shares.shape[0]} and {shares.shape[1]}"
        )
    rest = shares - shares.mean(0) - shares.mean(1, keepdims=True) + shares.mean()
    freedom = (shares.shape[0] - 1) * (shares.shape[1] - 1)
    return SeedNoise(variance=float(2 * (rest**2).sum() / freedom), freedom=freedom)


def share_noise(table: AnswerTable, cells: Sequence[str]) -> SeedNoise:
    """Measure what seeds do to shares, over many cells together.

    Args:
        table: answers.
        cells: at least one, with two seeds or more.

    Raises:
        SpecError: there is one seed only, or they were not asked the same.
        UnknownNameError: a cell is not in the table.
    """
    counts = count(table, cells)
    shares = counts.right.sum(2) / counts.asked.sum()
    if shares.shape[1] < 2:
        raise SpecError("the noise of seeds needs two seeds or more, not 1")
    return SeedNoise(variance=float(shares.var(1, ddof=1).mean()), freedom=len(shares) * (shares.shape[1] - 1))


def what_varies(counts: Clusters) -> str:
    """Say what an interval of these counts covers."""
    return "images and seeds" if counts.right.shape[1] > 1 else "images"
