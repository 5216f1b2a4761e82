"""Cells on this machine: in this process, or each in one of its own."""

import os
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from typing_extensions import override

from opticnerve.arena.pool import GO_ON, Pool, Work
from opticnerve.train.errors import TrainingError
from opticnerve.train.progress import Silent, StepReport

_Pipe = Any
"""One end of it: the class has another name on each system."""


def local_pool(jobs: int) -> Pool:
    """Return what runs cells on this machine.

    Args:
        jobs: cells at once; 1 runs them in this process, 0 is one for each core, or a single one where there is a GPU.
    """
    jobs = jobs or (1 if torch.cuda.is_available() else num_cores())
    return ThisProcess() if jobs == 1 else Processes(jobs)


class ThisProcess:
    """Runs cells one after another, where the caller is."""

    num_slots = 1

    def __init__(self) -> None:
        self._work: list[Work] = []

    def start(self, work: Work) -> None:
        """Note a cell; it is run by `wait`."""
        self._work.append(work)

    def wait(self) -> list[tuple[Work, dict[str, Any]]]:
        """Run the cell."""
        work = self._work.pop()
        return [(work, work.run())]

    def stop(self) -> None:
        """Forget a cell that did not come to its end."""
        self._work.clear()


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process with its cell."""

    work: Work
    process: BaseProcess
    messages: _Pipe


class Processes:
    """Runs each cell in a process of its own; see `Pool`.

    Args:
        num_slots: cells at once.
    """

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots
        self._workers: list[_Worker] = []

    def start(self, work: Work) -> None:
        """Start a process for a cell."""
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        mine, theirs = context.Pipe()
        process = context.Process(target=_work, args=(work, theirs))
        process.start()
        theirs.close()
        self._workers.append(_Worker(work, process, mine))

    def wait(self) -> list[tuple[Work, dict[str, Any]]]:
        """Wait until at least one of them has something to say, or has died."""
        ready = connection.wait([one.messages for one in self._workers])
        finished = [one for one in self._workers if one.messages in ready]
        self._workers = [one for one in self._workers if one not in finished]
        return [(one.work, _result(one)) for one in finished]

    def stop(self) -> None:
        """End the processes."""
        for one in self._workers:
            one.process.terminate()
        for one in self._workers:
            one.process.join()
        self._workers = []


class _Leash(Silent):
    """Ends a process whose parent has gone.

    Args:
        messages: to the parent.
    """

    def __init__(self, messages: _Pipe) -> None:
        self.messages = messages

    @override
    def stepped(self, report: StepReport) -> None:
        if self.messages.poll():  # nothing is ever sent this way: it is closed
            raise SystemExit(1)


def _work(work: Work, messages: _Pipe) -> None:
    """Run a cell in this process, and tell the parent what came of it."""
    messages.send(work.run_apart(_Leash(messages)))


def _result(worker: _Worker) -> dict[str, Any]:
    try:
        said = worker.messages.recv()
    except EOFError:
        worker.process.join()
        raise TrainingError(
            f"cell {worker.work.name}: its process ended with code {worker.process.exitcode}; if memory ran out, run"
            f" fewer cells at once with --jobs. {GO_ON}"
        ) from None
    worker.process.join()
    return worker.work.result(said)


def num_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
