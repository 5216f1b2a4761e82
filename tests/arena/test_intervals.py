"""Intervals cover the truth as often as they say, and say what they cover."""

import numpy as np
import pytest

from arena.tables import row, rows, table_of, trained
from opticnerve.arena import seed_noise, share_interval, tabulate
from opticnerve.arena.intervals import share_noise
from opticnerve.errors import SpecError, UnknownNameError


def test_an_interval_of_a_share_covers_other_images_and_seeds():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        table = table_of({"a": trained(rng, rng.uniform(0.2, 0.8, 60), seeds=5)})
        found = share_interval(table, "a", rng=rng, num_draws=1000)
        hits += found.low <= 0.5 <= found.high
    assert 0.92 <= hits / 300 <= 0.985


def test_questions_taken_for_independent_would_miss_too_often():
    rng = np.random.default_rng(0)
    hits, naive = 0, 0
    for _ in range(200):
        known = rng.random((1, 50, 1)) < 0.5
        right = np.broadcast_to(known, (1, 50, 6))
        found = share_interval(table_of({"a": right}), "a", rng=rng, num_draws=1000)
        hits += found.low <= 0.5 <= found.high
        naive += abs(right.mean() - 0.5) <= 1.96 * (right.mean() * (1 - right.mean()) / right.size) ** 0.5
    assert hits / 200 > 0.91
    assert naive / 200 < 0.7


def test_the_same_generator_gives_the_same_interval():
    table = table_of({"a": trained(np.random.default_rng(0), np.full(20, 0.5), seeds=3)})
    one, same, other = (share_interval(table, "a", rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same != other


def test_an_interval_says_what_it_covers():
    right = trained(np.random.default_rng(0), np.full(20, 0.5), seeds=2)
    one, two = (share_interval(table_of({"a": r}), "a", rng=np.random.default_rng(0)) for r in (right[:1], right))
    assert (one.covers, two.covers) == ("images", "images and seeds")


def test_answers_that_are_all_alike_have_the_exact_bound_of_their_images():
    found = share_interval(table_of({"a": np.ones((2, 10, 3))}), "a", rng=np.random.default_rng(0))
    assert (found.estimate, found.high) == (1, 1)
    assert found.low**10 == pytest.approx(0.025)


def test_one_image_says_nothing_about_others():
    found = share_interval(rows(row(), row(kind="count", is_right=False)), "a", rng=np.random.default_rng(0))
    assert (found.estimate, found.low, found.high) == (0.5, 0, 1)


def test_noise_of_two_cells_is_that_of_their_difference():
    rng = np.random.default_rng(0)
    a, b = (trained(rng, np.full(30, 0.5), seeds=4) for _ in "ab")
    noise = seed_noise(table_of({"a": a, "b": b}), ["a", "b"])
    assert noise.freedom == 3
    assert noise.variance == pytest.approx((a.mean((1, 2)) - b.mean((1, 2))).var(ddof=1))


def test_bad_input_is_explained():
    rng = np.random.default_rng(0)
    with pytest.raises(SpecError, match="there are no answers: a score needs at least one question"):
        share_interval(tabulate([]), "a", rng=rng)
    with pytest.raises(UnknownNameError, match='unknown cell "b"'):
        share_interval(rows(row()), "b", rng=rng)
    with pytest.raises(SpecError, match='"a" with seed 0 and "a" with seed 1 differ about image "(x|y)"'):
        share_interval(rows(row(), row(seed=1, image="y")), "a", rng=rng)
    with pytest.raises(SpecError, match="needs two cells and two seeds or more, not 1 and 1"):
        seed_noise(rows(row()), ["a"])


def test_cells_that_tell_together_how_far_seeds_move_give_intervals_that_cover_and_are_alike():
    rng = np.random.default_rng(0)
    hits, alone, among = 0, [], []
    for _ in range(60):
        right = {name: trained(rng, rng.uniform(0.2, 0.8, 60), seeds=2) for name in "abcdef"}
        table = table_of(right)
        for name in ("a", "b"):
            own = share_interval(table, name, rng=rng, num_draws=1000)
            found = share_interval(table, name, rng=rng, num_draws=1000, among=list(right))
            hits += found.low <= 0.5 <= found.high
            alone.append(own.high - own.low)
            among.append(found.high - found.low)
    assert hits / 120 >= 0.9
    assert np.median(among) < np.median(alone)
    assert np.std(among) < np.std(alone) / 3


def test_noise_of_seeds_on_shares_is_the_mean_over_cells_and_needs_two_seeds():
    right = {"a": np.array([[[1, 1]], [[0, 1]]]), "b": np.array([[[0, 1]], [[0, 1]]])}
    found = share_noise(table_of(right), ["a", "b"])
    assert (found.variance, found.freedom) == (np.var([1, 0.5], ddof=1) / 2, 2)
    with pytest.raises(SpecError, match="the noise of seeds needs two seeds or more, not 1"):
        share_noise(table_of({"a": np.array([[[1, 0]]])}), ["a"])
