"""Calls that run side by side, each on one core, and whose results come in the order they were asked for."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

import torch

_AHEAD = 2
"""Calls for each lane, running and waiting, before the oldest is waited for."""

Key = TypeVar("Key")
Result = TypeVar("Result")


class Lanes:
    """Threads that compute side by side; in each, torch computes with one thread.

    Threads that share one call wait for each other at every layer, and for the slowest of them wherever another process
    wants its core. Lanes do not wait, and what a call gives does not depend on how many of them there are.

    Args:
        num: how many; as many as cores keep all of them busy, and one is enough for a GPU.
    """

    def __init__(self, num: int) -> None:
        self.num = num
        self._threads_before = 0

    def __enter__(self) -> "Lanes":
        """Begin; until the end, torch computes with one thread in the caller's thread too."""
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(1)
        # The number belongs to each thread: a new one has what the environment says.
        self._pool = ThreadPoolExecutor(
            self.num, thread_name_prefix="lane", initializer=torch.set_num_threads, initargs=(1,)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the calls that run, and forget the others."""
        del kind, error, trace
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads_before)

    def start(self, call: Callable[[], Result]) -> Future[Result]:
        """Make a call as soon as a lane is free.

        Args:
            call: what is to be done.
        """
        return self._pool.submit(call)


class InOrder(Generic[Key, Result]):
    """Calls in lanes whose results come in the order of the calls.

    Args:
        lanes: that have begun.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._running: deque[tuple[Key, Future[Result]]] = deque()

    def put(self, key: Key, call: Callable[[], Result]) -> Iterator[tuple[Key, Result]]:
        """Start a call; where many are on their way, wait for the oldest of them.

        Args:
            key: whose call it is.
            call: what is to be done.

        Returns:
            Those that were waited for, with their results.
        """
        self._running.append((key, self._lanes.start(call)))
        yield from self._waited(_AHEAD * self._lanes.num)

    def flush(self) -> Iterator[tuple[Key, Result]]:
        """Wait for all calls; returns as `put` does."""
        yield from self._waited(0)

    def _waited(self, most: int) -> Iterator[tuple[Key, Result]]:
        while len(self._running) > most:
            key, future = self._running.popleft()
            yield key, future.result()
