"""What the processes that torchrun has started tell each other."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch.distributed as dist

from opticnerve.errors import OpticNerveError

T = TypeVar("T")


def gather(value: T) -> list[T]:
    """Collect a value from every process; every process calls it.

    Args:
        value: this process's; small.

    Returns:
        One for each process.
    """
    if not dist.is_initialized():
        return [value]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, value)
    return everyone


def by_first(work: Callable[[], T]) -> T:
    """Let the first process do something for all; every process calls it.

    Args:
        work: what only the first one does.

    Returns:
        What it returned, in every process.

    Raises:
        OpticNerveError: what it raised, in every process.
    """
    value, problem = None, None
    if not dist.is_initialized() or dist.get_rank() == 0:
        try:
            value = work()
        except OpticNerveError as error:
            problem = error
    value, problem = gather((value, problem))[0]
    if problem is not None:
        raise problem
    return cast(T, value)


@contextmanager
def launched() -> Generator[tuple[int, int]]:
    """Join the other processes that torchrun announces, over gloo; part from them at the end.

    They only exchange small facts, and may wait for each other for days.

    Yields:
        Number of this process, from 0, and how many there are; 0 and 1 without torchrun.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or dist.is_initialized():
        yield (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        return
    dist.init_process_group("gloo", timeout=timedelta(days=30))
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()
