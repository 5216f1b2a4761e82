"""A contender at one budget, over all its seeds: what it is and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from opticnerve.arena.answers import Answered, AnswerTable, tabulate
from opticnerve.arena.report.folder import Result

Curve = tuple[tuple[int, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """A contender at one budget."""

    name: str
    """Contender and reduction."""
    contender: str
    """Who competes."""
    is_baseline: bool
    """Whether it is one of those that methods must beat."""
    is_elastic: bool
    """Whether one connector was trained for this and other budgets."""
    method: str
    """Of the connector."""
    view: str
    """How the image was looked at."""
    reduction: int
    """Features of the view for each visual token."""
    tokens: int
    """Visual tokens per image."""
    encoder_flops: float
    """Of the encoder, per image."""
    connector_flops: float
    """Of the connector, per image."""
    prefill_flops: float
    """Of the language model, until the first token."""
    first_token_ms: float
    """Measured milliseconds to the first token: median over seeds."""
    kv_bytes: float
    """Of the visual tokens' keys and values."""
    trainable_params: int
    """Parameters that were trained."""
    train_seconds: float
    """Of all stages: mean over seeds."""
    rate: float
    """Factor on the learning rates."""
    seeds: tuple[int, ...]
    """That are finished."""
    curve: Curve
    """Steps and losses of the last stage: mean over seeds."""

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
    first = cells[0]
    return Group(
        name=name,
        contender=first.contender,
        is_baseline=first.is_baseline,
        is_elastic=first.is_elastic,
        method=first.method,
        view=first.view,
        reduction=first.reduction,
        tokens=first.tokens,
        encoder_flops=first.encoder_flops,
        connector_flops=first.connector_flops,
        prefill_flops=first.prefill_flops,
        first_token_ms=median(one.first_token_ms for one in cells),
        kv_bytes=first.kv_bytes,
        trainable_params=first.trainable_params,
        train_seconds=fmean(one.train_seconds for one in cells),
        rate=first.rate,
        seeds=tuple(sorted({one.seed for one in cells})),
        curve=_mean_curve([one.curve for one in cells]),
    )


def _mean_curve(curves: Sequence[Curve]) -> Curve:
    losses: dict[int, list[float]] = {}
    for curve in curves:
        for step, loss in curve:
            losses.setdefault(step, []).append(loss)
    return tuple((step, fmean(values)) for step, values in sorted(losses.items()) if len(values) == len(curves))
