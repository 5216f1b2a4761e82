"""One connector for several budgets, beside connectors of the same method that were trained for one budget each."""

from collections.abc import Iterator, Sequence

import numpy as np

from opticnerve.arena.answers import AnswerTable
from opticnerve.arena.differences import Difference, compare_many, enough_draws
from opticnerve.arena.intervals import SeedNoise
from opticnerve.arena.report.groups import Group
from opticnerve.arena.report.wording import points


def compare_elastic(
    table: AnswerTable, groups: Sequence[Group], *, rng: np.random.Generator, noise: SeedNoise | None, error_rate: float
) -> tuple[Difference, ...]:
    """Compare elastic connectors with those that were trained for each of their budgets.

    Args:
        table: answers of the groups.
        groups: that can be compared.
        rng: source of all randomness.
        noise: of the seeds.
        error_rate: how often any of the equal pairs is called different, 0 to 1.

    Returns:
        An elastic group less another of the same method, view and budget; empty where there is none.
    """
    pairs = [(one.name, other.name) for one in groups if one.is_elastic for other in beside(one, groups)]
    if not pairs:
        return ()
    num_draws = enough_draws(len(pairs), error_rate=error_rate)
    return compare_many(table, pairs, rng=rng, error_rate=error_rate, noise=noise, num_draws=num_draws)


def beside(mine: Group, groups: Sequence[Group]) -> Iterator[Group]:
    """Give the groups that were trained for the budget at which an elastic one is asked.

    Args:
        mine: the elastic group.
        groups: all of them.
    """
    kind = (mine.method, mine.view, mine.tokens)
    yield from (one for one in groups if not one.is_elastic and (one.method, one.view, one.tokens) == kind)


def curves(groups: Sequence[Group]) -> tuple[tuple[Group, ...], ...]:
    """List the contenders that are drawn as curves over budgets: elastic ones, and what stands beside them.

    Args:
        groups: all of the arena.

    Returns:
        The groups of each contender, from the fewest visual tokens; contenders with one budget are left out.
    """
    elastic = [one for one in groups if one.is_elastic]
    others = {other.contender for one in elastic for other in beside(one, groups)}
    names = dict.fromkeys([*(one.contender for one in elastic), *(one.contender for one in groups)])
    drawn = [name for name in names if name in others or any(one.contender == name for one in elastic)]
    found = (sorted((one for one in groups if one.contender == name), key=lambda one: one.tokens) for name in drawn)
    return tuple(tuple(one) for one in found if len(one) > 1)


def tell_elastic(found: Sequence[Difference], groups: Sequence[Group]) -> tuple[str, ...]:
    """Say what one connector for all budgets costs: a sentence for each pair of contenders.

    Args:
        found: from `compare_elastic`.
        groups: that were compared.
    """
    known = {one.name: one for one in groups}
    told: dict[tuple[str, str], list[str]] = {}
    for one in found:
        mine, other = known[one.cell], known[one.other]
        said = f"{points(one)} at {mine.tokens} visual tokens, {one.verdict}"
        told.setdefault((mine.contender, other.contender), []).append(said)
    return tuple(
        f"{mine}, one connector for all of its budgets, against {other}, one for each, in points: {'; '.join(said)}."
        for (mine, other), said in told.items()
    )
