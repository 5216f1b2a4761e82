"""Equal methods are called different about as often as stated; others are told apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.tables import row, rows, table_of, trained
from opticnerve.arena.differences import compare, compare_many, compare_with_best, holm
from opticnerve.arena.intervals import seed_noise
from opticnerve.errors import SpecError


@pytest.mark.parametrize("error_rate", [0.05, 0.2])
def test_the_same_method_under_two_names_is_called_different_as_often_as_stated(error_rate: float):
    rng = np.random.default_rng(1)
    different = 0
    for _ in range(400):
        chance = rng.uniform(0.2, 0.8, 40)
        table = table_of({name: trained(rng, chance, seeds=10) for name in "ab"})
        found = compare(table, "a", "b", rng=rng, error_rate=error_rate, num_draws=1000)
        different += found.verdict != "not separable"
    sigma = (error_rate * (1 - error_rate) / 400) ** 0.5
    assert error_rate - 3 * sigma <= different / 400 <= error_rate + 2.5 * sigma


def test_two_seeds_are_enough_where_many_cells_tell_of_their_noise():
    rng = np.random.default_rng(2)
    different = 0
    for _ in range(300):
        chance = rng.uniform(0.2, 0.8, 40)
        table = table_of({name: trained(rng, chance, seeds=2) for name in "abcdef"})
        noise = seed_noise(table, "abcdef")
        found = compare(table, "a", "b", rng=rng, noise=noise, num_draws=1000)
        different += found.verdict != "not separable"
    assert 0.015 <= different / 300 <= 0.085


def test_questions_taken_for_independent_would_call_equal_methods_different():
    rng = np.random.default_rng(3)
    different = 0
    for _ in range(200):
        chance = rng.uniform(0.2, 0.8, 40)
        a, b = (trained(rng, chance, seeds=10) for _ in "ab")
        gain = a.astype(float) - b
        different += abs(gain.mean()) > 1.96 * gain.std() / gain.size**0.5
    assert different / 200 > 0.15


def test_a_planted_difference_is_found_and_its_interval_covers_it():
    rng = np.random.default_rng(4)
    found_better, hits = 0, 0
    for _ in range(300):
        chance = rng.uniform(0.3, 0.6, 60)
        better = chance + rng.uniform(0, 0.3, 60)
        table = table_of({"a": trained(rng, better, seeds=8), "b": trained(rng, chance, seeds=8)})
        found = compare(table, "a", "b", rng=rng, num_draws=1000)
        found_better += found.verdict == "better"
        hits += found.interval.low <= 0.15 <= found.interval.high
    assert found_better / 300 > 0.85
    assert 0.92 <= hits / 300 <= 0.985


def test_verdicts_turn_with_the_order():
    rng = np.random.default_rng(5)
    table = table_of({"a": rng.random((3, 50, 2)) < 0.9, "b": rng.random((3, 50, 2)) < 0.3})
    there, back = (compare(table, *pair, rng=rng).verdict for pair in (("a", "b"), ("b", "a")))
    assert (there, back) == ("better", "worse")


def test_equal_answers_are_not_separable():
    same = trained(np.random.default_rng(0), np.full(20, 0.5), seeds=3)
    found = compare(table_of({"a": same, "b": same}), "a", "b", rng=np.random.default_rng(0))
    assert (found.interval.estimate, found.p, found.verdict) == (0, 1, "not separable")
    # the chance that one more image tells them apart is as large as 20 that do not leave open
    assert (1 - found.interval.high) ** 20 == pytest.approx(0.025)
    assert found.interval.low == -found.interval.high


@pytest.mark.parametrize(("images", "verdict"), [(5, "not separable"), (6, "better")])
def test_a_few_images_that_all_favour_one_are_judged_as_by_a_sign_test(images: int, verdict: str):
    right = np.ones((1, images, 1), dtype=bool)
    found = compare(table_of({"a": right, "b": ~right}), "a", "b", rng=np.random.default_rng(0))
    assert (found.verdict, found.p) == (verdict, 0.5 ** (images - 1))
    assert (found.interval.low <= 0) == (verdict == "not separable")


def test_what_is_not_separable_has_zero_in_its_interval():
    rng = np.random.default_rng(7)
    verdicts = set()
    for _ in range(100):
        table = table_of({"a": rng.random((1, 30, 1)) < 0.85, "b": rng.random((1, 30, 1)) < 0.98})
        found = compare(table, "a", "b", rng=rng, num_draws=500)
        verdicts.add(found.verdict)
        if found.verdict == "not separable":
            assert found.interval.low <= 0 <= found.interval.high
    assert verdicts == {"worse", "not separable"}


def test_one_of_many_equals_is_called_worse_than_the_best_no_more_often_than_stated():
    rng = np.random.default_rng(8)
    cells = [f"cell {index}" for index in range(12)]
    passed, naive = 0, 0
    for _ in range(150):
        chance = rng.uniform(0.2, 0.8, 40)
        table = table_of({cell: trained(rng, chance, seeds=1, spread=0) for cell in cells})
        found = compare_with_best(table, cells, rng=rng, num_draws=1000)
        passed += any(one.cell == cells[0] and one.verdict == "worse" for one in found)
        if found[0].cell == cells[0]:
            naive += compare(table, cells[0], found[0].other, rng=rng, num_draws=1000).verdict == "worse"
    assert passed / 150 < 0.07
    assert naive / 150 > 0.12


def test_what_is_worse_than_the_best_is_found_among_many():
    rng = np.random.default_rng(9)
    shares = {"low": 0.4, "first": 0.7, "equal": 0.7, "near": 0.69}
    table = table_of({cell: rng.random((3, 200, 2)) < share for cell, share in shares.items()})
    found = compare_with_best(table, list(shares), rng=rng, noise=seed_noise(table, list(shares)))
    (best,) = {one.other for one in found}
    assert best in ("first", "equal", "near")
    assert [one.cell for one in found] == [cell for cell in shares if cell != best]
    assert [one.verdict for one in found] == ["worse", "not separable", "not separable"]


def test_of_two_that_score_highest_the_first_is_the_best():
    same = trained(np.random.default_rng(0), np.full(20, 0.5), seeds=3)
    table = table_of({"a": same, "b": same})
    (found,) = compare_with_best(table, ["b", "a"], rng=np.random.default_rng(0))
    assert (found.cell, found.other) == ("a", "b")


def test_one_seed_covers_images_only():
    right = trained(np.random.default_rng(0), np.full(20, 0.5), seeds=1)
    found = compare(table_of({"a": right, "b": ~right}), "a", "b", rng=np.random.default_rng(0))
    assert found.interval.covers == "images"


@given(st.lists(st.floats(0, 1), max_size=7))
def test_holm_rejects_what_the_slow_procedure_rejects(ps: list[float]):
    adjusted = holm(ps)
    for rate in (0.01, 0.05, 0.3, 0.999):
        left, rejected = list(range(len(ps))), set()
        while left:
            least = min(left, key=lambda index: ps[index])
            if ps[least] * len(left) >= rate:
                break
            rejected.add(least)
            left.remove(least)
        assert {index for index, p in enumerate(adjusted) if p < rate} == rejected


def test_many_comparisons_are_adjusted_together():
    rng = np.random.default_rng(6)
    table = table_of({name: trained(rng, np.full(40, 0.5), seeds=4) for name in "abcd"})
    pairs = [("a", "b"), ("a", "c"), ("a", "d")]
    together = compare_many(table, pairs, rng=np.random.default_rng(0))
    again = np.random.default_rng(0)
    assert [one.p for one in together] == list(holm([compare(table, *pair, rng=again).p for pair in pairs]))


def test_bad_input_is_explained():
    rng = np.random.default_rng(0)
    with pytest.raises(SpecError, match='"a" with seed 0 and "b" with seed 0 differ about image "(x|y)"'):
        compare(rows(row(), row(cell="b", image="y")), "a", "b", rng=rng)
    with pytest.raises(SpecError, match=r'same seeds: "a" has \[0\], "b" has \[1\]. Run the missing ones'):
        compare(rows(row(), row(cell="b", seed=1)), "a", "b", rng=rng)
    with pytest.raises(SpecError, match="there are no answers"):
        compare(rows(), "a", "b", rng=rng)
    with pytest.raises(SpecError, match="100 draws cannot separate anything among 3 comparisons at an error rate of"):
        compare_many(rows(row()), [("a", "a")] * 3, rng=rng, num_draws=100)
    with pytest.raises(
        SpecError, match="100 draws cannot separate anything among 3 .* give num_draws=10000 or compare"
    ):
        compare_with_best(rows(row()), list("abcd"), rng=rng, num_draws=100)
