"""The data of a stage as an endless, ordered supply of micro-batches."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from opticnerve.train.batches import Split, StepSampler, StepStream
from opticnerve.train.errors import TrainingError
from opticnerve.train.recipe import Stage
from opticnerve.train.turns import TurnCollate, TurnDataset, TurnSampler

Collate = Callable[[list[Any]], dict[str, Any]]
"""From examples to what the model takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Indexed:
    """Examples that can be asked for by number."""

    dataset: Dataset[Any]
    """Examples by number; the same number is the same example in every run. Those of a `TurnDataset` are made for one
    budget in one step, and for another in the next."""
    order: Callable[[int], Sequence[int]]
    """From the number of an epoch, the order of its samples."""
    collate: Collate
    num_samples: int
    """Samples of an epoch."""

    def loader(self, split: Split, *, num_steps: int, first_step: int, num_workers: int) -> DataLoader[Any]:
        """Make the loader of one process.

        Args:
            split: how a step is shared out.
            num_steps: optimizer steps of the stage.
            first_step: steps that are done.
            num_workers: processes that make examples; 0 makes them in this one.
        """
        sampler = StepSampler(self.order, split=split, num_steps=num_steps, first_step=first_step)
        if isinstance(self.dataset, TurnDataset):
            turns, collate = TurnSampler(sampler, num_turns=self.dataset.num_turns), TurnCollate(self.collate)
            return DataLoader(self.dataset, batch_sampler=turns, collate_fn=collate, **_options(num_workers))
        return DataLoader(self.dataset, batch_sampler=sampler, collate_fn=self.collate, **_options(num_workers))


@dataclass(frozen=True, kw_only=True, slots=True)
class Streamed:
    """Examples in the order in which they come."""

    stream: Callable[[], Iterable[object]]
    """Opens the stream anew."""
    make: Callable[[object], object | None]
    """From a raw sample to an example, or None for a bad one."""
    collate: Collate
    num_samples: int = 0
    """Nobody knows."""

    def loader(self, split: Split, *, num_steps: int, first_step: int, num_workers: int) -> DataLoader[Any]:
        """Make the loader of one process.

        Args:
            split: how a step is shared out.
            num_steps: optimizer steps of the stage.
            first_step: steps that are done.
            num_workers: processes that read the stream, each the whole of it; 0 reads it in this one.
        """
        examples = StepStream(self.stream, self.make, split=split, num_steps=num_steps, first_step=first_step)
        return DataLoader(examples, batch_size=split.micro_batch_size, collate_fn=self.collate, **_options(num_workers))


Feed = Indexed | Streamed


def count_tokens(feed: Feed, split: Split) -> int:
    """Judge the tokens of a step by the first micro-batch of this process.

    Args:
        feed: the data.
        split: how a step is shared out.
    """
    batch = next(iter(feed.loader(split, num_steps=1, first_step=0, num_workers=0)))
    mask = batch.get("attention_mask")
    num_tokens = int(mask.sum()) if mask is not None else batch["input_ids"].numel()
    return round(num_tokens * split.batch_size / split.micro_batch_size)


def num_steps(stage: Stage, *, num_samples: int) -> int:
    """Count the optimizer steps of a stage.

    Args:
        stage: with `steps`, or with `epochs`.
        num_samples: samples of an epoch; 0 where nobody knows.

    Raises:
        TrainingError: epochs of unknown length.
    """
    if stage.steps is not None:
        return stage.steps
    if not num_samples:
        raise TrainingError(f'stage "{stage.name}" reads a stream, whose length nobody knows: give steps, not epochs.')
    return math.ceil((stage.epochs or 1) * num_samples / stage.batch_size)


def samples_seen(stage: Stage, feed: Feed) -> int:
    """Count the samples that a whole stage sees, each once.

    Args:
        stage: how long it is.
        feed: its data.
    """
    seen = num_steps(stage, num_samples=feed.num_samples) * stage.batch_size
    return min(seen, feed.num_samples) if feed.num_samples else seen


def _options(num_workers: int) -> dict[str, Any]:
    # With a generator of its own the loader does not draw from the global one, whose state a checkpoint restores.
    return {
        "num_workers": num_workers,
        "generator": torch.Generator(),
        "pin_memory": torch.cuda.is_available(),
        "prefetch_factor": 2 if num_workers else None,
    }
