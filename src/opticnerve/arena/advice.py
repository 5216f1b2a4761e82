"""Which cell to take, in words, with how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opticnerve.arena.answers import AnswerTable
from opticnerve.arena.clusters import count
from opticnerve.arena.differences import (
    Difference,
    adjust,
    compare,
    compare_many,
    compare_with_best,
    enough_draws,
)
from opticnerve.arena.glyphs import split_heights
from opticnerve.arena.intervals import SeedNoise, seed_noise
from opticnerve.errors import SpecError


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """What is known of a cell beside its answers."""

    cell: str
    """Name, as in the answers."""
    budget: int
    """Visual tokens per image that it may use: baselines of the same budget are what it must beat."""
    cost: float
    """What is to be small, such as milliseconds to the first token; the same unit for all."""
    is_baseline: bool
    """Whether it is one of those that methods must beat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """A recommendation and what it rests on."""

    cell: str
    """The cheapest that is not separable from the best."""
    best: str
    """The cell with the highest share."""
    unbeaten: dict[str, tuple[Difference, ...]]
    """Of each method that does not beat its baselines: the comparisons that it does not win."""
    sentences: tuple[str, ...]
    """The whole in words, the recommendation first."""


def advise(
    table: AnswerTable,
    candidates: Sequence[Candidate],
    *,
    cuts_px: Sequence[float],
    rng: np.random.Generator,
    error_rate: float = 0.05,
) -> Advice:
    """Recommend a cell.

    A cheaper cell that is as good as any is passed over no more often than the error rate, however many compete.

    Args:
        table: answers of all candidates, on the same images and seeds.
        candidates: at least two.
        cuts_px: ranges of glyph heights that losses are told for.
        rng: source of all randomness.
        error_rate: of the verdicts, 0 to 1.

    Raises:
        SpecError: there are fewer than two candidates, or they were not asked the same.
        UnknownNameError: a candidate has no answers.
    """
    if len(candidates) < 2:
        raise SpecError(f"advice needs two candidates or more, not {len(candidates)}")
    names = [one.cell for one in candidates]
    counts = count(table, names)
    shares = dict(zip(names, counts.share.tolist(), strict=True))
    table = table.where(np.isin(table.cell, names))
    noise = _noise(table, names)
    ordered = sorted(candidates, key=lambda one: (one.cost, -shares[one.cell]))
    best = max(ordered, key=lambda one: shares[one.cell])
    compared = compare_with_best(
        table,
        [one.cell for one in ordered],
        rng=rng,
        error_rate=error_rate,
        noise=noise,
        num_draws=enough_draws(len(names), error_rate=error_rate),
    )
    behind = {one.cell: one for one in compared}
    equal = [one for one in ordered if one is best or behind[one.cell].verdict != "worse"]
    chosen = equal[0]
    sentences = [_chosen(chosen, best, behind, is_cheapest=chosen is ordered[0])]
    if len(equal) == len(candidates):
        sentences.append(f"Nothing separates the {len(candidates)} cells from the best: the choice is by cost alone.")
    for smaller in _best_of_smaller(candidates, chosen, shares):
        sentences.append(_loss(table, smaller.cell, chosen.cell, cuts_px=cuts_px, rng=rng, error_rate=error_rate))
    unbeaten = _unbeaten(table, candidates, rng=rng, error_rate=error_rate, noise=noise)
    sentences += [_mark(cell, lost) for cell, lost in unbeaten.items()]
    if counts.right.shape[1] == 1:
        sentences.append("There is one seed: intervals cover images only, and training again may move every number.")
    return Advice(cell=chosen.cell, best=best.cell, unbeaten=unbeaten, sentences=tuple(sentences))


def in_points(difference: Difference) -> str:
    """Write a difference in points of 100: its size and the larger half of its interval."""
    one = difference.interval
    half = max(one.high - one.estimate, one.estimate - one.low)
    return f"{100 * abs(one.estimate):.0f} +- {max(1, round(100 * half))} points"


def _noise(table: AnswerTable, cells: Sequence[str]) -> SeedNoise | None:
    return seed_noise(table, cells) if len(np.unique(table.seed)) > 1 else None


def _chosen(chosen: Candidate, best: Candidate, behind: dict[str, Difference], *, is_cheapest: bool) -> str:
    if chosen is best:
        why = "no other is cheaper" if is_cheapest else "every cheaper cell is worse"
        return f"For this data, {chosen.cell}: none scores higher, and {why}."
    return (
        f"For this data, {chosen.cell}: the cheapest that is not separable from the best, {best.cell}"
        f" ({in_points(behind[chosen.cell])} apart)."
    )


def _best_of_smaller(candidates: Sequence[Candidate], chosen: Candidate, shares: dict[str, float]) -> list[Candidate]:
    budgets = sorted({one.budget for one in candidates if one.budget < chosen.budget}, reverse=True)
    return [max((o for o in candidates if o.budget == size), key=lambda o: shares[o.cell]) for size in budgets]


def _loss(
    table: AnswerTable,
    cell: str,
    chosen: str,
    *,
    cuts_px: Sequence[float],
    rng: np.random.Generator,
    error_rate: float,
) -> str:
    """Say what a smaller budget loses: by glyph height where type must be read, by kind elsewhere."""
    kinds = dict.fromkeys(table.kind[np.isnan(table.glyph_px)].tolist())
    masks = {f"glyphs {span}": span.holds(table.glyph_px) for span in split_heights(cuts_px)}
    masks |= {f'"{kind}" questions': (table.kind == kind) & np.isnan(table.glyph_px) for kind in kinds}
    parts = {name: table.where(mask) for name, mask in masks.items() if mask.any()}
    num_draws = enough_draws(len(parts), error_rate=error_rate)
    judged = [
        compare(part, cell, chosen, rng=rng, error_rate=error_rate, noise=_noise(part, part.cells), num_draws=num_draws)
        for part in parts.values()
    ]
    found = dict(zip(parts, adjust(judged, error_rate=error_rate), strict=True))
    lost = [f"{in_points(one)} on {name}" for name, one in found.items() if one.verdict == "worse"]
    won = [f"{in_points(one)} on {name}" for name, one in found.items() if one.verdict == "better"]
    gains = f"; it gains {' and '.join(won)}" if won else ""
    if not lost:
        return f"{cell} loses nothing that can be separated{gains}."
    if len(lost) + len(won) == len(found):
        return f"{cell} loses {_listed(lost)}{gains}."
    return f"{cell} loses {', '.join(lost)} and nothing separable elsewhere{gains}."


def _unbeaten(
    table: AnswerTable,
    candidates: Sequence[Candidate],
    *,
    rng: np.random.Generator,
    error_rate: float,
    noise: SeedNoise | None,
) -> dict[str, tuple[Difference, ...]]:
    baselines = [one for one in candidates if one.is_baseline]
    methods = [one for one in candidates if not one.is_baseline]
    pairs = [(one.cell, base.cell) for one in methods for base in baselines if base.budget == one.budget]
    num_draws = enough_draws(len(pairs), error_rate=error_rate)
    found = compare_many(table, pairs, rng=rng, error_rate=error_rate, noise=noise, num_draws=num_draws)
    lost = {one.cell: tuple(d for d in found if d.cell == one.cell and d.verdict != "better") for one in methods}
    return {cell: differences for cell, differences in lost.items() if differences}


def _mark(cell: str, lost: tuple[Difference, ...]) -> str:
    worse = [one.other for one in lost if one.verdict == "worse"]
    level = [one.other for one in lost if one.verdict == "not separable"]
    words = [f"{how} {_listed(some)}" for how, some in (("worse than", worse), ("not separable from", level)) if some]
    return f"{cell} does not beat the baselines of its budget: {'; '.join(words)}."


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
