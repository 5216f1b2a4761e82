"""What the answers say: scores with intervals, comparisons with baselines, and a recommendation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from opticnerve.arena.advice import Candidate, advise
from opticnerve.arena.answers import AnswerTable
from opticnerve.arena.differences import Difference, compare, compare_many
from opticnerve.arena.glyphs import HeightPoint, SmallestRead, glyph_curve, smallest_read, whole_pixels
from opticnerve.arena.intervals import NUM_DRAWS, Interval, SeedNoise, seed_noise, share_interval
from opticnerve.arena.report.elastic import compare_elastic, tell_elastic
from opticnerve.arena.report.folder import ArenaFolder
from opticnerve.arena.report.groups import Group, equal_time_loss, group, tabulate_replies

Standing = Literal["baseline", "beats them", "does not beat them", "nothing to beat"]
"""How a group stands to the baselines of its budget."""
READS: float = 0.9
"""Share of right answers that counts as reading."""
_FEW_DRAWS = NUM_DRAWS // 5
"""Of intervals that decide nothing."""
_TIE = 1e-6
"""Visual tokens that a millisecond is worth: of groups with equal budgets, the quicker is the cheaper."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A group and what was found about it."""

    group: Group
    """What it is and costs."""
    score: Interval
    """Share of right answers over all questions."""
    kinds: Mapping[str, Interval]
    """The same for each kind of question."""
    heights: tuple[HeightPoint, ...]
    """Accuracy against glyph height."""
    smallest: SmallestRead | None
    """Glyphs that it still reads; None where nothing was to be read."""
    equal_time_loss: float | None
    """Loss when the quickest contender of its budget had finished training."""
    versus: tuple[Difference, ...]
    """Of a method, to each baseline of its budget."""
    to_unreduced: Difference | None
    """To the baseline that keeps every patch."""
    standing: Standing
    """To the baselines of its budget, all together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Everything that a report says in numbers."""

    rows: tuple[Row, ...]
    """Groups, in the order of the contenders."""
    kinds: tuple[str, ...]
    """Of question."""
    num_images: int
    """That were asked about."""
    num_questions: int
    """Of one cell."""
    seeds: tuple[int, ...]
    """That groups are compared on."""
    left_out: tuple[str, ...]
    """Groups that are not compared, since they lack one of these seeds."""
    elastic: tuple[Difference, ...]
    """Of connectors for several budgets, to those of the same method for one."""
    advice: tuple[str, ...]
    """The recommendation in words, the most important first."""

    @property
    def unreduced(self) -> Row | None:
        """The baseline that keeps every patch."""
        return next((row for row in self.rows if row.group.is_unreduced), None)


def summarise(folder: ArenaFolder) -> Summary:
    """Compute everything that a report says.

    Args:
        folder: of the arena.

    Raises:
        SpecError: cells were not asked the same.
    """
    error_rate = folder.settings.error_rate
    groups, table = group(folder.results), tabulate_replies(folder.results)
    seeds = _common_seeds(groups)
    compared = [one for one in groups if set(seeds) <= set(one.seeds)]
    fair = table.where(np.isin(table.seed, seeds) & np.isin(table.cell, [one.name for one in compared]))
    noise = seed_noise(fair, fair.cells) if min(len(seeds), len(compared)) > 1 else None
    versus = _versus(fair, compared, noise, error_rate)
    elastic = compare_elastic(fair, compared, rng=_rng(), noise=noise, error_rate=error_rate)
    cuts = cut_heights(table, parts=6)
    rows = [
        _row(one, groups, table, cuts, versus.get(one.name, ()), _to_unreduced(one, compared, fair, noise))
        for one in groups
    ]
    first = table.where((table.cell == groups[0].name) & (table.seed == groups[0].seeds[0]))
    return Summary(
        rows=tuple(rows),
        kinds=tuple(dict.fromkeys(table.kind.tolist())),
        num_images=len(np.unique(table.image)),
        num_questions=len(first),
        seeds=seeds,
        left_out=tuple(one.name for one in groups if one not in compared),
        elastic=elastic,
        advice=(*_advise(fair, compared, error_rate), *_beaten(rows), *tell_elastic(elastic, compared)),
    )


def cut_heights(table: AnswerTable, *, parts: int) -> tuple[float, ...]:
    """Cut glyph heights into ranges with about as many questions each, at whole pixels.

    Args:
        table: answers.
        parts: how many ranges, at most.
    """
    heights = table.glyph_px[~np.isnan(table.glyph_px)]
    if not len(heights):
        return ()
    cuts = np.quantile(heights, np.arange(1, parts) / parts).round()
    return tuple(float(cut) for cut in np.unique(cuts) if heights.min() < cut <= heights.max())


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)  # drawn again from the same folder, a report says the same


def _common_seeds(groups: Sequence[Group]) -> tuple[int, ...]:
    """Find the seeds that all groups have; where there is none, the one that most have."""
    common = set(groups[0].seeds).intersection(*(one.seeds for one in groups))
    if common:
        return tuple(sorted(common))
    every = sorted({seed for one in groups for seed in one.seeds})
    return (max(every, key=lambda seed: sum(seed in one.seeds for one in groups)),)


def _advise(table: AnswerTable, groups: Sequence[Group], error_rate: float) -> tuple[str, ...]:
    """Recommend by visual tokens, and by time; baselines are judged elsewhere, so that there is one verdict of each."""
    if len(groups) < 2:
        return ("There is one group only: nothing can be compared yet.",)
    first, *rest = _choose(table, groups, [one.tokens + _TIE * one.first_token_ms for one in groups], error_rate)
    quick, *_ = _choose(table, groups, [one.first_token_ms for one in groups], error_rate)
    quick = quick.removeprefix("For this data, ")
    return (first, f"If milliseconds to the first token are the cost instead of visual tokens: {quick}", *rest)


def _choose(table: AnswerTable, groups: Sequence[Group], costs: Sequence[float], error_rate: float) -> tuple[str, ...]:
    candidates = [
        Candidate(cell=one.name, budget=one.tokens, cost=cost, is_baseline=True)
        for one, cost in zip(groups, costs, strict=True)
    ]
    cuts = cut_heights(table, parts=3)
    return advise(table, candidates, cuts_px=cuts, rng=_rng(), error_rate=error_rate).sentences


def _versus(
    table: AnswerTable, groups: Sequence[Group], noise: SeedNoise | None, error_rate: float
) -> dict[str, tuple[Difference, ...]]:
    """Compare each method with the baselines of its budget."""
    methods, bases = ([one for one in groups if one.is_baseline is wanted] for wanted in (False, True))
    pairs = [(one.name, base.name) for one in methods for base in bases if base.tokens == one.tokens]
    num_draws = max(NUM_DRAWS, round(10 * len(pairs) / error_rate))  # enough to tell so many apart
    found = compare_many(table, pairs, rng=_rng(), error_rate=error_rate, noise=noise, num_draws=num_draws)
    return {one.name: tuple(each for each in found if each.cell == one.name) for one in methods}


def _beaten(rows: Sequence[Row]) -> tuple[str, ...]:
    lost = [row.group.name for row in rows if row.standing == "does not beat them"]
    judged = [row for row in rows if row.standing in ("beats them", "does not beat them")]
    if not judged:
        return ()
    if not lost:
        return (f"Each of the {len(judged)} methods beats every baseline of its budget.",)
    return (f"{len(lost)} of {len(judged)} methods do not beat every baseline of their budget: {', '.join(lost)}.",)


def _to_unreduced(
    mine: Group, groups: Sequence[Group], table: AnswerTable, noise: SeedNoise | None
) -> Difference | None:
    whole = next((one for one in groups if one.is_unreduced), None)
    if whole is None or mine is whole or mine not in groups:
        return None
    return compare(table, mine.name, whole.name, rng=_rng(), noise=noise, num_draws=_FEW_DRAWS)


def _row(
    mine: Group,
    groups: Sequence[Group],
    table: AnswerTable,
    cuts: Sequence[float],
    versus: tuple[Difference, ...],
    to_unreduced: Difference | None,
) -> Row:
    among = [one.name for one in groups if one.seeds == mine.seeds]
    own = table.where(np.isin(table.cell, among))
    has_glyphs = not np.isnan(own.glyph_px).all()
    kinds = {
        kind: share_interval(own.where(own.kind == kind), mine.name, rng=_rng(), num_draws=_FEW_DRAWS, among=among)
        for kind in dict.fromkeys(own.kind.tolist())
    }
    standing: Standing = "nothing to beat"
    if mine.is_baseline:
        standing = "baseline"
    elif versus:
        standing = "beats them" if all(one.verdict == "better" for one in versus) else "does not beat them"
    return Row(
        group=mine,
        score=share_interval(own, mine.name, rng=_rng(), num_draws=_FEW_DRAWS, among=among),
        kinds=kinds,
        heights=_heights(own, mine, cuts, among) if has_glyphs else (),
        smallest=smallest_read(own, mine.name, cuts_px=whole_pixels(own), rng=_rng(), at_least=READS)
        if has_glyphs
        else None,
        equal_time_loss=equal_time_loss(mine, groups),
        versus=versus,
        to_unreduced=to_unreduced,
        standing=standing,
    )


def _heights(table: AnswerTable, mine: Group, cuts: Sequence[float], among: Sequence[str]) -> tuple[HeightPoint, ...]:
    return glyph_curve(table, mine.name, cuts_px=cuts, rng=_rng(), num_draws=_FEW_DRAWS, among=among)
