"""The smallest glyph that is read is found where it was planted."""

import math

import numpy as np
import pytest

from arena.tables import row, rows, table_of
from opticnerve.arena import glyph_curve, smallest_read, split_heights
from opticnerve.arena.answers import AnswerTable
from opticnerve.arena.glyphs import fit_rising, whole_pixels
from opticnerve.errors import SpecError

HEIGHTS = [8.0, 10.0, 12.0, 14.0, 16.0]
CUTS = [10.0, 12.0, 14.0, 16.0]


def planted(threshold: float, *, low: float = 0.3, high: float = 0.97):
    rng = np.random.default_rng(0)
    chance = np.where(np.array(HEIGHTS) >= threshold, high, low)
    return table_of({"a": rng.random((2, 100, 5)) < chance}, px=HEIGHTS)


@pytest.mark.parametrize("threshold", HEIGHTS)
def test_a_planted_threshold_is_found(threshold: float):
    found = smallest_read(planted(threshold), "a", cuts_px=CUTS, rng=np.random.default_rng(0))
    assert (found.px, found.low_px, found.high_px) == (threshold,) * 3
    assert str(found) == f"{threshold:g} px ({threshold:g} px to {threshold:g} px)"


def test_what_never_reads_is_said_to():
    found = smallest_read(planted(99), "a", cuts_px=CUTS, rng=np.random.default_rng(0))
    assert (found.px, str(found)) == (math.inf, "never")


def test_a_share_near_the_limit_leaves_the_height_open():
    found = smallest_read(planted(12, high=0.9), "a", cuts_px=CUTS, rng=np.random.default_rng(0))
    assert found.low_px == 12 < found.high_px


def soft(rng: np.random.Generator, *, questions: int = 400, seeds: int = 2) -> AnswerTable:
    """Heights of every pixel, read the better the taller; 90 % of those of 16.6 px and more."""
    px = rng.integers(7, 35, questions).astype(float)
    chance = 0.99 / (1 + np.exp(-(px - 12) / 2))
    return AnswerTable(
        cell=np.full(seeds * questions, "a"),
        seed=np.repeat(np.arange(seeds), questions),
        image=np.tile(np.arange(questions) // 2, seeds).astype(str),
        kind=np.full(seeds * questions, "read"),
        glyph_px=np.tile(px, seeds),
        is_right=rng.random(seeds * questions) < np.tile(chance, seeds),
    )


def test_a_threshold_of_a_soft_curve_is_found_and_covered_with_ranges_of_whole_pixels():
    rng = np.random.default_rng(0)
    found = [
        smallest_read(table, "a", cuts_px=whole_pixels(table), rng=rng, num_draws=200)
        for table in (soft(rng) for _ in range(60))
    ]
    assert abs(np.median([one.px for one in found]) - 17) <= 1
    assert sum(one.low_px <= 17 <= one.high_px for one in found) / 60 >= 0.9


def test_ranges_of_whole_pixels_hold_as_many_questions_as_asked_for():
    px = [8.2] * 5 + [8.9] * 4 + [9.0] * 1 + [11.5] * 10 + [12.0] * 3 + [None] * 50
    table = table_of({cell: np.ones((2, 1, len(px))) for cell in "ab"}, px=px)
    assert whole_pixels(table, at_least=10) == (11,)
    assert whole_pixels(table, at_least=3) == (9, 12)
    assert whole_pixels(table, at_least=99) == whole_pixels(rows(), at_least=1) == ()


def test_the_curve_has_the_share_of_each_range():
    table = planted(12)
    curve = glyph_curve(table, "a", cuts_px=[12], rng=np.random.default_rng(0))
    assert [str(point.heights) for point in curve] == ["under 12 px", "from 12 px"]
    assert [(point.mean_px, point.num_questions) for point in curve] == [(9, 200), (14, 300)]
    for point, keep in zip(curve, (table.glyph_px < 12, table.glyph_px >= 12), strict=True):
        assert point.share.estimate == pytest.approx(table.is_right[keep].mean())
        assert point.share.low < point.share.estimate < point.share.high


def pool_adjacent(right: np.ndarray, asked: np.ndarray) -> list[float]:
    blocks: list[list[float]] = []
    for some, of in zip(right, asked, strict=True):
        blocks.append([some, of, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [one + two for one, two in zip(blocks[-1], last, strict=True)]
    return [some / of for some, of, times in blocks for _ in range(int(times))]


def test_the_rising_fit_is_that_of_pooling_adjacent_violators():
    rng = np.random.default_rng(0)
    asked = rng.integers(1, 9, (50, 6)).astype(float)
    right = np.floor(asked * rng.random(asked.shape))
    wanted = [pool_adjacent(*pair) for pair in zip(right, asked, strict=True)]
    np.testing.assert_allclose(fit_rising(right, asked), wanted)


def test_bad_input_is_explained():
    with pytest.raises(SpecError, match=r"must ascend from above 0, not \[12, 10\]"):
        split_heights([12, 10])
    with pytest.raises(SpecError, match='no question of cell "a" has a glyph height'):
        glyph_curve(rows(row()), "a", cuts_px=[10], rng=np.random.default_rng(0))
