"""A contender at one budget, over all its seeds: what it is and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

import numpy as np

from opticnerve.arena.answers import Answered, AnswerTable, tabulate
from opticnerve.arena.report.folder import CellFacts, Result

Curve = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group(CellFacts):
    """A contender at one budget.

    Its milliseconds and seconds are those of the quickest seed, since whatever else the machine does only adds to them;
    its curve is the mean over seeds.
    """

    name: str
    """Contender and reduction."""
    seeds: tuple[int, ...]
    """That are finished."""

    @property
    def flops(self) -> float:
        """Of everything, until the first token."""
        return self.encoder_flops + self.connector_flops + self.prefill_flops

    @property
    def is_unreduced(self) -> bool:
        """Whether it is the baseline that keeps every patch."""
        return self.is_baseline and self.reduction == 1


def group(results: Sequence[Result]) -> tuple[Group, ...]:
    """Put the seeds of a contender at a budget together.

    Args:
        results: of the cells.
    """
    found: dict[str, list[Result]] = {}
    for one in results:
        found.setdefault(one.group, []).append(one)
    return tuple(_group(name, cells) for name, cells in found.items())


def tabulate_replies(results: Sequence[Result]) -> AnswerTable:
    """Make the table that all statistics read.

    Args:
        results: of the cells.
    """
    return tabulate(
        Answered(
            cell=one.group,
            seed=one.seed,
            image=reply.image,
            kind=reply.kind,
            glyph_px=reply.height_px,
            is_right=reply.is_right,
        )
        for one in results
        for reply in one.answers
    )


def equal_time_loss(mine: Group, groups: Sequence[Group]) -> float | None:
    """Give the last stage's loss when the quickest contender of the same budget had finished.

    A step is taken to last as long as any other of the same contender. The steps of an elastic one are of several
    budgets, so it has no such loss, and is nobody's quickest.

    Args:
        mine: whose loss.
        groups: all of them.
    """
    if not mine.curve or mine.train_seconds <= 0 or mine.is_elastic:
        return None
    rivals = [one for one in groups if one.tokens == mine.tokens and not one.is_elastic]
    share = min(one.train_seconds for one in rivals) / mine.train_seconds
    steps, losses = [step for step, _ in mine.curve], [loss for _, loss in mine.curve]
    return float(np.interp(share * steps[-1], steps, losses))


def _group(name: str, cells: Sequence[Result]) -> Group:
    facts: dict[str, Any] = {field.name: getattr(cells[0], field.name) for field in fields(CellFacts)}
    facts |= {
        "first_token_ms": min(one.first_token_ms for one in cells),
        "train_seconds": min(one.train_seconds for one in cells),
        "curve": _mean_curve([one.curve for one in cells]),
    }
    return Group(**facts, name=name, seeds=tuple(sorted({one.seed for one in cells})))


def _mean_curve(curves: Sequence[Curve]) -> Curve:
    losses: dict[int, list[float]] = {}
    for curve in curves:
        for step, loss in curve:
            losses.setdefault(step, []).append(loss)
    return tuple((step, fmean(values)) for step, values in sorted(losses.items()) if len(values) == len(curves))
