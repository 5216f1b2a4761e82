"""What all micro-batches and processes of a step add up to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from opticnerve.ranks import gather
from opticnerve.train.objectives.base import LossSum
from opticnerve.train.stopping import StopRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A step, over all processes."""

    loss: float
    """Mean over its items."""
    count: float
    """Items."""
    must_stop: bool
    """Some process was asked to stop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The steps since the last report, over all processes."""

    num_images: float
    num_tokens: float
    """Padding left out."""
    extras: dict[str, float]
    """What the objective adds, for each item."""


class StepSums:
    """Adds up losses and counts, on the device: one wait for it in a step.

    Args:
        request: whether this process was asked to stop.
        device: where the processes' backend adds.
    """

    def __init__(self, request: StopRequest, device: torch.device) -> None:
        self.request = request
        self.device = device
        self.must_stop = False
        self._step = self._zeros(2)  # total, count
        self._window = self._zeros(3)  # items, images, tokens
        self._extras: dict[str, float] = {}

    def add(self, loss: LossSum, batch: Mapping[str, Any]) -> None:
        """Add a micro-batch.

        Args:
            loss: of this process.
            batch: what it was computed from.
        """
        sizes, mask = batch.get("image_sizes"), batch.get("attention_mask")
        num_images = len(sizes) if isinstance(sizes, Tensor) else 0
        num_tokens = mask.sum() if isinstance(mask, Tensor) else batch["input_ids"].numel()
        self._step[0] += loss.total.detach()
        self._step[1] += loss.count
        self._window[0] += loss.count
        self._window[1] += num_images
        self._window[2] += num_tokens
        for name, value in loss.logs.items():
            self._extras[name] = self._extras.get(name, 0.0) + float(value)

    def reduce(self) -> Step:
        """Add up the processes, and begin a new step."""
        own = torch.cat([self._step, self._step.new_tensor([float(self.request.is_made)])])
        total, count, stops = _sum(own)
        self._step = self._zeros(2)
        self.must_stop = stops > 0
        return Step(loss=total / max(count, 1.0), count=count, must_stop=self.must_stop)

    def take(self) -> Window:
        """Add up the processes since the last call; every process calls it."""
        names = sorted({name for each in gather(list(self._extras)) for name in each})
        own = self._window.new_tensor([self._extras.get(name, 0.0) for name in names])
        items, images, tokens, *extras = _sum(torch.cat([self._window, own]))
        self._window = self._zeros(3)
        self._extras = {}
        shares = {name: value / max(items, 1.0) for name, value in zip(names, extras, strict=True)}
        return Window(num_images=images, num_tokens=tokens, extras=shares)

    def _zeros(self, size: int) -> Tensor:
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        return torch.zeros(size, dtype=kind, device=self.device)


def _sum(values: Tensor) -> list[float]:
    if dist.is_initialized():
        dist.all_reduce(values)
    return cast("list[float]", values.tolist())
