"""Exact match by kind, with intervals over images."""

import numpy as np
import pytest

from opticnerve.evaluate.score import is_right, score

ROWS = [(f"image {i}", kind, (i + j) % 3 == 0) for i in range(30) for j, kind in enumerate(("color", "count"))]


@pytest.mark.parametrize(
    ("given", "wanted", "matches"),
    [
        ("A7", "A7", True),
        (" A7 \n", "A7", True),
        ("top  left.", "top left", True),
        ("a7", "A7", False),
        ("", "A", False),
    ],
)
def test_an_answer_is_right_if_it_is_the_same_text(given: str, wanted: str, matches: bool):
    assert is_right(given, wanted) is matches


def test_every_kind_and_all_together_are_counted():
    color, count, overall = score(ROWS)
    assert (color.kind, color.num_questions, color.num_right) == ("color", 30, 10)
    assert (count.kind, count.num_questions, count.num_right) == ("count", 30, 10)
    assert (overall.kind, overall.num_questions, overall.num_right) == ("all", 60, 20)
    assert overall.share == pytest.approx(1 / 3)
    assert all(0 <= one.low < one.share < one.high <= 1 for one in (color, count, overall))


def test_one_kind_has_no_score_over_all():
    (only,) = score([("a", "color", True), ("b", "color", False)])
    assert only.kind == "color"


def test_the_interval_is_that_of_the_seed():
    assert score(ROWS, seed=1) == score(ROWS, seed=1)
    assert score(ROWS, seed=1, num_resamples=7) != score(ROWS, seed=2, num_resamples=7)


def test_the_interval_of_independent_questions_is_the_binomials():
    rng = np.random.default_rng(0)
    rows = [(str(i), "color", bool(hit)) for i, hit in enumerate(rng.random(400) < 0.3)]
    (found,) = score(rows, num_resamples=4000)
    error = 1.96 * (found.share * (1 - found.share) / 400) ** 0.5
    assert found.high - found.low == pytest.approx(2 * error, rel=0.08)


def test_questions_of_one_image_stand_or_fall_together():
    apart = [(str(i), "color", i % 2 == 0) for i in range(100)]
    together = [(str(i // 10), "color", i // 10 % 2 == 0) for i in range(100)]
    (narrow,), (wide,) = score(apart), score(together)
    assert wide.share == narrow.share
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_a_kind_that_few_images_have_still_has_an_interval():
    *_, rare, _ = score([*[(str(i), "color", True) for i in range(20)], ("0", "count", True), ("1", "count", False)])
    assert (rare.kind, rare.low, rare.high) == ("count", 0, 1)
