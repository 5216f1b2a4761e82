"""Equal effort for all: each contender gets the best of the same learning rates, chosen on validation questions."""

from collections.abc import Collection, Mapping
from typing import Any

from opticnerve.arena.cells import Cell, groups
from opticnerve.arena.config import ArenaConfig

Scores = dict[str, dict[str, float]]
"""Of each contender at each reduction, the share of right answers with each factor on the learning rates."""


def search_cells(config: ArenaConfig, only: Collection[str] = ()) -> list[Cell]:
    """List the runs that choose the rates: none where there is nothing to choose.

    Args:
        config: the arena.
        only: names of contenders; empty for all.
    """
    if len(config.rates) == 1:
        return []
    return [
        Cell(contender=contender, reduction=reduction, seed=config.seeds[0], rate=rate, is_search=True)
        for contender, reduction in groups(config, only)
        for rate in config.rates
    ]


def scored_cells(config: ArenaConfig, rates: Mapping[str, float], only: Collection[str] = ()) -> list[Cell]:
    """List the runs that are reported.

    Args:
        config: the arena.
        rates: chosen for each contender at each reduction.
        only: names of contenders; empty for all.
    """
    return [
        Cell(
            contender=contender,
            reduction=reduction,
            seed=seed,
            rate=rates[f"{contender.name}-{reduction}x"],
            is_search=False,
        )
        for seed in config.seeds
        for contender, reduction in groups(config, only)
    ]


def note(scores: Scores, cell: Cell, result: Mapping[str, Any]) -> None:
    """Add what a run of the search got right.

    Args:
        scores: changed in place.
        cell: the run.
        result: of it.
    """
    answers = result["answers"]
    share = sum(one["is_right"] for one in answers) / len(answers)
    scores.setdefault(cell.group, {})[f"{cell.rate:g}"] = round(share, 4)


def choose(config: ArenaConfig, scores: Scores, only: Collection[str] = ()) -> dict[str, float]:
    """Choose the factor that did best; of equals, the smallest. Of an elastic contender, over all of its reductions.

    Args:
        config: the arena.
        scores: of all factors.
        only: names of contenders; empty for all.
    """
    chosen: dict[str, float] = {}
    for contender, reduction in groups(config, only):
        judged = contender.at if contender.is_elastic else (reduction,)
        known = [scores.get(f"{contender.name}-{one}x", {}) for one in judged]
        best = max(sorted(config.rates), key=lambda rate: sum(one.get(f"{rate:g}", 0.0) for one in known))
        chosen[f"{contender.name}-{reduction}x"] = best
    return chosen
