"""How a cell learned, from the log of its run."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from opticnerve.train.recipe import Recipe

NUM_POINTS = 20
"""Most points of a curve."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """How a cell learned, from the log of its run."""

    trainable_params: int
    """Numbers that the last stage trains in the model."""
    train_seconds: float
    """Of the steps of all stages; reading, writing and computing features are not counted."""
    steps: int
    """Of all stages."""
    curve: tuple[tuple[int, float], ...]
    """Steps of the last stage, and the mean loss from one to the next."""


def read_log(path: Path, recipe: Recipe) -> Learned:
    """Read the log of a run; of a step that was done twice, the last line counts.

    Args:
        path: the log.
        recipe: what was run.
    """
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    last = recipe.stages[-1].name
    reports: dict[tuple[str, int], dict[str, Any]] = {
        (one["stage"], one["step"]): one for one in entries if one["event"] == "step"
    }
    parts = next(one for one in reversed(entries) if one["event"] == "started" and one["stage"] == last)["parts"]
    seconds, steps = 0.0, 0
    for stage in recipe.stages:
        before = 0
        for (name, step), one in sorted(reports.items()):
            if name == stage.name:
                seconds += (step - before) * stage.batch_size / one["images_per_s"]
                before = step
        steps += before
    return Learned(
        trainable_params=sum(part["trained"] for part in parts if part["name"] in ("encoder", "connector", "llm")),
        train_seconds=round(seconds, 2),
        steps=steps,
        curve=_thin([(step, one["loss"]) for (name, step), one in sorted(reports.items()) if name == last]),
    )


def _thin(curve: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """Average the losses of each twentieth of the steps."""
    width = max(-(-len(curve) // NUM_POINTS), 1)
    parts = [curve[start : start + width] for start in range(0, len(curve), width)]
    return tuple((part[-1][0], round(fmean(loss for _, loss in part), 5)) for part in parts)
