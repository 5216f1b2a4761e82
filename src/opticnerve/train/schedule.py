"""The learning rate over a stage, as a share of its peak."""

import math
from typing import Literal


def rate_share(
    step: int,
    *,
    num_steps: int,
    schedule: Literal["cosine", "linear", "constant"],
    num_warmup: int,
    min_lr_ratio: float,
) -> float:
    """Give the share of the peak rate at a step.

    Args:
        step: from 0.
        num_steps: steps of the stage.
        schedule: what comes after the warm-up.
        num_warmup: steps in which the rate rises from 0.
        min_lr_ratio: where cosine and linear end.

    Returns:
        From 0 to 1.
    """
    if step < num_warmup:
        return step / num_warmup
    if schedule == "constant":
        return 1.0
    done = min((step - num_warmup) / max(num_steps - num_warmup, 1), 1.0)
    falling = 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return min_lr_ratio + (1 - min_lr_ratio) * falling
