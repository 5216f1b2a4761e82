"""Many cells, some of them at once, each in a process of its own."""

import os
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from opticnerve.arena.cells import Cell
from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.work import run_cell
from opticnerve.errors import OpticNerveError
from opticnerve.train.errors import StoppedError, TrainingError
from opticnerve.train.progress import Silent, StepReport

Done = Callable[[Cell, dict[str, Any]], None]
"""Hears of each cell that is finished, with its result."""


_Pipe = Any
"""One end of it: the class has another name on each system."""


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process with its cell."""

    cell: Cell
    process: BaseProcess
    messages: _Pipe


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


def run_cells(config: ArenaConfig, cells: Sequence[Cell], out: Path, *, jobs: int, done: Done) -> None:
    """Run cells, each unless it is done.

    Of the cells with a view that is new, one goes first: the others find its features on the disk.

    Args:
        config: the arena.
        cells: in the order of their start.
        out: the arena's folder.
        jobs: cells at once; 1 runs them in this process.
        done: hears of each that is finished.

    Raises:
        StoppedError: somebody asked to stop.
        OpticNerveError: a cell cannot be trained.
    """
    if jobs == 1:
        with _one_thread():
            for cell in cells:
                done(cell, run_cell(config, cell, out))
        return
    waiting, workers, seen = list(cells), list[_Worker](), set[str]()
    try:
        while waiting or workers:
            for cell in startable(config, waiting, [one.cell for one in workers], seen)[: jobs - len(workers)]:
                waiting.remove(cell)
                workers.append(_start(config, cell, out))
            for one in _finished(workers):
                workers.remove(one)
                done(one.cell, _result(config, one))
                seen.add(config.view(one.cell.entrant).name)
    finally:
        for one in workers:
            one.process.terminate()
        for one in workers:
            one.process.join()


def startable(config: ArenaConfig, waiting: Sequence[Cell], running: Sequence[Cell], seen: set[str]) -> list[Cell]:
    """List the cells that need not wait for another one's features."""
    busy = {config.view(cell.entrant).name for cell in running} - seen
    found: list[Cell] = []
    for cell in waiting:
        view = config.view(cell.entrant).name
        if view not in busy:
            found.append(cell)
            busy |= {view} - seen
    return found


def _start(config: ArenaConfig, cell: Cell, out: Path) -> _Worker:
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    mine, theirs = context.Pipe()
    process = context.Process(target=_work, args=(config, cell, out, theirs))
    process.start()
    theirs.close()
    return _Worker(cell, process, mine)


def _work(config: ArenaConfig, cell: Cell, out: Path, messages: _Pipe) -> None:
    """Run a cell in this process, and tell the parent what came of it."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    try:
        with _one_thread():
            messages.send(("done", run_cell(config, cell, out, progress=_Leash(messages))))
    except (StoppedError, KeyboardInterrupt) as error:
        messages.send(("stopped", str(error)))
    except OpticNerveError as error:
        messages.send(("wrong", str(error)))
    except Exception:  # a bug: its traceback is shown by the parent
        messages.send(("broken", traceback.format_exc()))


def _finished(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait until at least one of them has something to say, or has died."""
    ready = connection.wait([one.messages for one in workers])
    return [one for one in workers if one.messages in ready]


def _result(config: ArenaConfig, worker: _Worker) -> dict[str, Any]:
    name = worker.cell.name(config)
    try:
        kind, said = worker.messages.recv()
    except EOFError:
        worker.process.join()
        raise TrainingError(
            f"cell {name}: its process ended with code {worker.process.exitcode}; if memory ran out, run fewer cells at"
            " once with --jobs. Run the same command again to go on"
        ) from None
    worker.process.join()
    if kind == "stopped":
        raise StoppedError(f"stopped in cell {name}. Run the same command again to go on.")
    if kind == "wrong":
        raise TrainingError(f"cell {name}: {said}")
    if kind == "broken":
        raise RuntimeError(f"cell {name} in another process:\n{said}")
    return said


@contextmanager
def _one_thread() -> Generator[None]:
    """Compute with one thread, so that the numbers do not depend on the machine, nor on how many cells run at once."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def num_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
