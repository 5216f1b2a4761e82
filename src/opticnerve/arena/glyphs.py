"""How small a cell reads: accuracy against glyph height, and the smallest height that it still reads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from opticnerve.arena.answers import AnswerTable
from opticnerve.arena.clusters import count
from opticnerve.arena.intervals import NUM_DRAWS, Interval, share_interval, what_varies
from opticnerve.errors import SpecError


@dataclass(frozen=True, kw_only=True, slots=True)
class HeightRange:
    """Glyph heights from one to below another."""

    low_px: float
    """Smallest height; 0 for all that are smaller than the next cut."""
    high_px: float
    """Not in the range any more; `inf` for all that are larger."""

    def __str__(self) -> str:
        """Say it in words."""
        if self.low_px == 0:
            return f"under {self.high_px:g} px" if self.high_px < math.inf else "of any height"
        return f"from {self.low_px:g} px" + (f" to under {self.high_px:g} px" if self.high_px < math.inf else "")

    def holds(self, glyph_px: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Say which heights are in the range; NaN never is."""
        return (glyph_px >= self.low_px) & (glyph_px < self.high_px)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeightPoint:
    """One point of the curve."""

    heights: HeightRange
    """What was asked about."""
    mean_px: float
    """Mean height of the questions."""
    num_questions: int
    """Of one seed."""
    share: Interval
    """Right answers, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallestRead:
    """The smallest glyphs that a cell still reads."""

    px: float
    """Height; `inf` if it never reads so well."""
    low_px: float
    """Lower end of its interval."""
    high_px: float
    """Upper end; `inf` if the data do not exclude "never"."""
    covers: str
    """As in `Interval`."""

    def __str__(self) -> str:
        """Say it in words."""
        if self.low_px == math.inf:
            return "never"
        high = "never" if self.high_px == math.inf else f"{self.high_px:g} px"
        return f"{'never' if self.px == math.inf else f'{self.px:g} px'} ({self.low_px:g} px to {high})"


def split_heights(cuts_px: Sequence[float]) -> tuple[HeightRange, ...]:
    """Split all heights into ranges.

    Args:
        cuts_px: where one range ends and the next begins, ascending, above 0.

    Raises:
        SpecError: they do not ascend.
    """
    ends = [0.0, *cuts_px, math.inf]
    if any(low >= high for low, high in pairwise(ends)):
        raise SpecError(f"cuts of glyph heights must ascend from above 0, not {list(cuts_px)}")
    return tuple(HeightRange(low_px=low, high_px=high) for low, high in pairwise(ends))


def whole_pixels(table: AnswerTable, *, at_least: int = 30) -> tuple[float, ...]:
    """Cut glyph heights at whole pixels, as finely as their questions allow.

    Wide ranges call a height read where only the taller ones beside it are; ranges of a few questions are read by luck.

    Args:
        table: answers; one cell with one seed says how many questions there are, and all are asked the same.
        at_least: questions in each range.
    """
    one = table.where((table.cell == table.cell[:1]) & (table.seed == table.seed[:1]))
    pixels, numbers = np.unique(np.floor(one.glyph_px[~np.isnan(one.glyph_px)]), return_counts=True)
    cuts: list[float] = []
    held, left = 0, int(numbers.sum())
    for px, number in zip(pixels.tolist(), numbers.tolist(), strict=True):
        if held >= at_least and left >= at_least:
            cuts.append(px)
            held = 0
        held, left = held + number, left - number
    return tuple(cuts)


def glyph_curve(
    table: AnswerTable,
    cell: str,
    *,
    cuts_px: Sequence[float],
    rng: np.random.Generator,
    error_rate: float = 0.05,
    num_draws: int = NUM_DRAWS,
    among: Sequence[str] = (),
) -> tuple[HeightPoint, ...]:
    """Give accuracy against glyph height.

    Args:
        table: answers; questions without a glyph height do not count.
        cell: name.
        cuts_px: between the points, in pixels.
        rng: source of all randomness.
        error_rate: share of intervals that miss, 0 to 1, each by itself.
        num_draws: of the bootstrap.
        among: cells that tell together how far seeds move a share, as in `share_interval`.

    Returns:
        A point for each range that has questions.

    Raises:
        SpecError: no question of the cell has a glyph height, or seeds were not asked the same.
    """
    points: list[HeightPoint] = []
    for heights, part in _parts(table, cell, cuts_px):
        asked = table.where(heights.holds(table.glyph_px))
        share = share_interval(asked, cell, rng=rng, error_rate=error_rate, num_draws=num_draws, among=among)
        num_questions = len(part) // len(np.unique(part.seed))
        mean_px = float(part.glyph_px.mean())
        points.append(HeightPoint(heights=heights, mean_px=mean_px, num_questions=num_questions, share=share))
    return tuple(points)


def smallest_read(
    table: AnswerTable,
    cell: str,
    *,
    cuts_px: Sequence[float],
    rng: np.random.Generator,
    at_least: float = 0.9,
    error_rate: float = 0.05,
    num_draws: int = NUM_DRAWS // 10,
) -> SmallestRead:
    """Find the smallest glyph that a cell still reads, if larger ones are never harder (isotonic regression).

    Its interval draws images and seeds anew and fits again; with few seeds it is rough.

    Args:
        table: answers; questions without a glyph height do not count.
        cell: name.
        cuts_px: ranges of heights that are told apart, such as `whole_pixels` gives.
        rng: source of all randomness.
        at_least: share of right answers that counts as reading, 0 to 1.
        error_rate: share of intervals that miss, 0 to 1.
        num_draws: of the bootstrap.

    Returns:
        The smallest height asked for in the first range that is read.

    Raises:
        SpecError: no question of the cell has a glyph height, or seeds were not asked the same.
    """
    parts = _parts(table, cell, cuts_px)
    heights = np.array([part.glyph_px.min() for _, part in parts] + [math.inf])
    mine = _with_glyphs(table, cell)
    layers = [mine.where(span.holds(mine.glyph_px)) for span, _ in parts]
    whole = count(mine, [cell])
    images, seeds = np.unique(mine.image), np.unique(mine.seed)
    right, asked = np.zeros((len(seeds), len(images), len(layers))), np.zeros((len(images), len(layers)))
    for column, layer in enumerate(layers):
        place = np.searchsorted(images, layer.image)
        np.add.at(right[:, :, column], (np.searchsorted(seeds, layer.seed), place), layer.is_right)
        np.add.at(asked[:, column], place, 1 / len(seeds))
    fit = fit_rising(right.sum((0, 1))[None], asked.sum(0)[None] * len(seeds))
    of_images = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), size=num_draws)
    of_seeds = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=num_draws)
    by_seed = np.einsum("ni,sik->nsk", of_images, right, optimize=True)
    refit = fit_rising(np.einsum("ns,nsk->nk", of_seeds, by_seed), of_images @ asked * len(seeds))
    found, drawn = (heights[_first(one, at_least)] for one in (fit, refit))
    low, high = np.quantile(drawn, [error_rate / 2, 1 - error_rate / 2], method="inverted_cdf")
    return SmallestRead(px=float(found[0]), low_px=float(low), high_px=float(high), covers=what_varies(whole))


def fit_rising(right: NDArray[np.float64], asked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit shares that never fall: of all means from here or before to there or after, the largest of the smallest.

    Args:
        right: right answers: draws, heights.
        asked: questions: draws, heights; 0 is allowed and takes no part.

    Returns:
        Shares: draws, heights.
    """
    rights, askeds = (np.pad(one.cumsum(1), ((0, 0), (1, 0))) for one in (right, asked))
    total = askeds[:, None, 1:] - askeds[:, :-1, None]  # draws, from, to
    means = np.full(total.shape, np.nan)
    np.divide(rights[:, None, 1:] - rights[:, :-1, None], total, out=means, where=total > 0.5)
    num = right.shape[1]
    fitted = np.zeros(right.shape)
    for at in range(num):
        block = means[:, : at + 1, at:]
        least = np.where(np.isnan(block), np.inf, block).min(2)
        fitted[:, at] = np.where(np.isinf(least), -np.inf, least).max(1)
    return fitted


def _first(shares: NDArray[np.float64], at_least: float) -> NDArray[np.intp]:
    reads = np.pad(shares >= at_least - 1e-12, ((0, 0), (0, 1)), constant_values=True)
    return reads.argmax(1)


def _with_glyphs(table: AnswerTable, cell: str) -> AnswerTable:
    kept = table.where((table.cell == cell) & ~np.isnan(table.glyph_px))
    if not len(kept):
        raise SpecError(f'no question of cell "{cell}" has a glyph height: a curve needs reading questions')
    return kept


def _parts(table: AnswerTable, cell: str, cuts_px: Sequence[float]) -> list[tuple[HeightRange, AnswerTable]]:
    kept = _with_glyphs(table, cell)
    parts = [(heights, kept.where(heights.holds(kept.glyph_px))) for heights in split_heights(cuts_px)]
    return [(heights, part) for heights, part in parts if len(part)]
