"""Advice says what the numbers say."""

from dataclasses import replace

import numpy as np
import pytest

from arena.tables import row, rows, table_of, trained
from opticnerve.arena import tabulate
from opticnerve.arena.advice import Candidate, advise
from opticnerve.errors import SpecError

FOUR = Candidate(cell="4x merge", budget=64, cost=4.0, is_baseline=False)
SIXTEEN = Candidate(cell="16x merge", budget=16, cost=1.0, is_baseline=False)
FULL = Candidate(cell="no reduction", budget=256, cost=16.0, is_baseline=True)
POOL = Candidate(cell="16x pool", budget=16, cost=1.1, is_baseline=True)


def answers(chances: dict[str, list[float]], *, seeds: int = 3):
    rng = np.random.default_rng(0)
    right = {
        cell: np.stack([trained(rng, np.full(200, p), seeds=seeds, questions=1, spread=0)[:, :, 0] for p in some], 2)
        for cell, some in chances.items()
    }
    return table_of(right, kinds=["color", "color", "count"], px=[8.0, 20.0, None])


def advice(table, contenders):
    return advise(table, contenders, cuts_px=[10], rng=np.random.default_rng(0))


def test_the_cheapest_that_is_not_separable_is_taken_and_losses_are_told_where_they_are():
    same = [0.8, 0.9, 0.7]
    table = answers({"no reduction": same, "4x merge": same, "16x merge": [0.5, 0.9, 0.7], "16x pool": [0.3, 0.5, 0.6]})
    found = advice(table, [FULL, FOUR, SIXTEEN, POOL])
    assert (found.cell, found.unbeaten) == ("4x merge", {})
    assert found.sentences == (
        "For this data, 4x merge: none scores higher, and every cheaper cell is worse.",
        "16x merge loses 33 +- 7 points on glyphs under 10 px and nothing separable elsewhere.",
    )


def test_a_method_that_does_not_beat_its_baselines_is_marked():
    table = answers({"no reduction": [0.9] * 3, "16x merge": [0.5] * 3, "16x pool": [0.6] * 3})
    found = advice(table, [FULL, SIXTEEN, POOL])
    assert list(found.unbeaten) == ["16x merge"]
    assert found.sentences == (
        "For this data, no reduction: none scores higher, and every cheaper cell is worse.",
        "16x pool loses 32 +- 6 points on glyphs under 10 px, 32 +- 6 points on glyphs from 10 px and 32 "
        '+- 9 points on "count" questions.',
        "16x merge does not beat the baselines of its budget: worse than 16x pool.",
    )


def test_a_tie_is_not_separable_and_the_choice_is_by_cost():
    right = trained(np.random.default_rng(0), np.full(50, 0.5), seeds=2)
    found = advice(table_of({"4x merge": right, "16x merge": right, "16x pool": right}), [FOUR, SIXTEEN, POOL])
    assert found.cell == "16x merge"
    assert found.sentences == (
        "For this data, 16x merge: none scores higher, and no other is cheaper.",
        "Nothing separates the 3 cells from the best: the choice is by cost alone.",
        "16x merge does not beat the baselines of its budget: not separable from 16x pool.",
    )


def test_the_cheapest_of_those_that_are_close_to_the_best_is_taken():
    table = answers({"no reduction": [0.84, 0.92, 0.7], "4x merge": [0.8, 0.9, 0.7], "16x merge": [0.2] * 3})
    found = advice(table, [FULL, FOUR, SIXTEEN])
    assert (found.cell, found.best) == ("4x merge", "no reduction")
    assert found.sentences == (
        "For this data, 4x merge: the cheapest that is not separable from the best, no reduction (1 +- "
        "2 points apart).",
        "16x merge loses 61 +- 8 points on glyphs under 10 px, 70 +- 7 points on glyphs from 10 px and 51 "
        '+- 6 points on "count" questions.',
    )


def test_baselines_that_are_not_beaten_are_listed_by_how():
    table = answers({"no reduction": [0.9] * 3, "16x merge": [0.5] * 3, "16x pool": [0.7] * 3, "16x drop": [0.5] * 3})
    drop = Candidate(cell="16x drop", budget=16, cost=1.1, is_baseline=True)
    level = Candidate(cell="16x mixed", budget=16, cost=1.1, is_baseline=True)
    mixed = table.where(table.cell == "16x drop")
    mixed = tabulate([replace(one, cell="16x mixed") for one in mixed.rows()])
    table = tabulate([*table.rows(), *mixed.rows()])
    assert advice(table, [FULL, SIXTEEN, POOL, drop, level]).sentences[-1] == (
        "16x merge does not beat the baselines of its budget: worse than 16x pool; not separable from 16x drop and 16x"
        " mixed."
    )


def test_what_a_smaller_budget_gains_is_told():
    table = answers({"no reduction": [0.9, 0.9, 0.5], "16x merge": [0.2, 0.9, 0.8]})
    assert advice(table, [FULL, SIXTEEN]).sentences == (
        "For this data, no reduction: none scores higher, and every cheaper cell is worse.",
        "16x merge loses 67 +- 3 points on glyphs under 10 px and nothing separable elsewhere; it gains 34 +- 5 points"
        ' on "count" questions.',
    )


def test_a_small_error_rate_gets_the_draws_that_it_needs():
    rng = np.random.default_rng(0)
    shares = {"no reduction": 0.9, "16x merge": 0.4, "16x pool": 0.1}
    table = table_of({cell: rng.random((2, 40, 3)) < share for cell, share in shares.items()})
    found = advise(table, [FULL, SIXTEEN, POOL], cuts_px=[10], error_rate=3e-4, rng=rng)
    assert (found.cell, found.unbeaten) == ("no reduction", {})


def test_one_seed_is_told():
    found = advice(answers({"4x merge": [0.9] * 3, "16x merge": [0.2] * 3}, seeds=1), [FOUR, SIXTEEN])
    assert found.sentences[-1] == (
        "There is one seed: intervals cover images only, and training again may move every number."
    )


def test_one_contender_is_not_enough():
    with pytest.raises(SpecError, match="advice needs two candidates or more, not 1"):
        advice(rows(row()), [FOUR])
