"""The training processes that a launcher has started: who is here, and what they tell each other."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState

from opticnerve.train.errors import TrainingError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """This process among the others."""

    rank: int
    """From 0; the first one writes what all share."""
    count: int
    """Training processes."""
    device: torch.device
    """Where this one computes."""

    @property
    def is_first(self) -> bool:
        """This is the one that writes."""
        return self.rank == 0


@contextmanager
def joined() -> Generator[Processes]:
    """Join the other processes that the launcher announces, over gloo where there is no GPU; part from them at the end.

    Yields:
        This process among the others.

    Raises:
        TrainingError: the launcher announces more processes than can be seen.
    """
    was_joined = dist.is_initialized()
    # Without cpu=True, accelerate makes independent replicas on machines that have no GPU.
    state: Any = PartialState(cpu=not torch.cuda.is_available())
    seen = Processes(rank=state.process_index, count=state.num_processes, device=torch.device(state.device))
    check_announced(seen.count)
    try:
        yield seen
    finally:
        if dist.is_initialized() and not was_joined:
            dist.destroy_process_group()
            PartialState._reset_state()  # pyright: ignore[reportPrivateUsage]


def check_announced(num_seen: int) -> None:
    """Compare what the launcher has announced with what is there.

    Args:
        num_seen: processes that the engine works with.

    Raises:
        TrainingError: they differ, so each process would train a model of its own and write over the others'.
    """
    announced = int(os.environ.get("WORLD_SIZE", "1"))
    if announced != num_seen:
        raise TrainingError(
            f"the launcher announces {announced} processes (WORLD_SIZE), but the engine sees {num_seen}: each would"
            " train a model of its own. Start with torchrun or accelerate launch, or unset WORLD_SIZE."
        )
