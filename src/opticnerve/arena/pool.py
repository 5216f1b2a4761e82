"""Many cells, some of them at once: what runs them, and in which order they start."""

import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch

from opticnerve.arena.cells import Cell
from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.work import run_cell
from opticnerve.errors import OpticNerveError
from opticnerve.train.errors import StoppedError, TrainingError
from opticnerve.train.progress import Progress

Done = Callable[[Cell, dict[str, Any]], None]
"""Hears of each cell that is finished, with its result."""
GO_ON = "Run the same command again to go on"


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What came of a cell in another process."""

    kind: Literal["done", "stopped", "wrong", "broken"]
    """It has a result; somebody asked the process to stop; it cannot be trained; there is a bug."""
    result: dict[str, Any]
    """Of a cell that is done."""
    words: str
    """Of an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A cell that is to be run: plain data, for any process of any machine that sees the arena's folder."""

    config: ArenaConfig
    """The arena."""
    cell: Cell
    """Which one."""
    out: Path
    """The arena's folder."""

    @property
    def name(self) -> str:
        """Name of the cell."""
        return self.cell.name(self.config)

    def run(self, progress: Progress | None = None) -> dict[str, Any]:
        """Run the cell in this process, with one thread: numbers depend neither on the machine nor on what else runs.

        Args:
            progress: hears how the training goes.

        Raises:
            StoppedError: somebody asked to stop.
            OpticNerveError: it cannot be trained.
        """
        with _one_thread():
            return run_cell(self.config, self.cell, self.out, progress=progress)

    def run_apart(self, progress: Progress | None = None) -> Said:
        """Run the cell in a process that exists for this, and raise nothing.

        Args:
            progress: hears how the training goes.
        """
        from transformers.utils import logging

        logging.set_verbosity_error()
        try:
            return Said(kind="done", result=self.run(progress), words="")
        except (StoppedError, KeyboardInterrupt) as error:
            return Said(kind="stopped", result={}, words=str(error))
        except OpticNerveError as error:
            return Said(kind="wrong", result={}, words=str(error))
        except Exception:  # a bug: its traceback is shown by the parent
            return Said(kind="broken", result={}, words=traceback.format_exc())

    def result(self, said: Said) -> dict[str, Any]:
        """Take over what came of it.

        Args:
            said: by the process that ran it.

        Raises:
            StoppedError: somebody asked that process to stop.
            TrainingError: the cell cannot be trained.
        """
        if said.kind == "stopped":
            raise StoppedError(f"stopped in cell {self.name}. {GO_ON}.")
        if said.kind == "wrong":
            raise TrainingError(f"cell {self.name}: {said.words}")
        if said.kind == "broken":
            raise RuntimeError(f"cell {self.name} in another process:\n{said.words}")
        return said.result


@runtime_checkable
class Pool(Protocol):
    """Runs cells somewhere, some of them at once."""

    @property
    def num_slots(self) -> int:
        """Cells that can run at once now."""
        ...

    def start(self, work: Work) -> None:
        """Begin with a cell; no more than there are slots.

        Args:
            work: the cell.
        """
        ...

    def wait(self) -> list[tuple[Work, dict[str, Any]]]:
        """Wait until at least one of the cells has ended.

        Returns:
            Those that have, with their results.

        Raises:
            StoppedError: somebody asked to stop.
            OpticNerveError: a cell cannot be trained, or its process died.
        """
        ...

    def stop(self) -> None:
        """End the cells that still run, if any; others may be started afterwards."""
        ...


def run_cells(config: ArenaConfig, cells: Sequence[Cell], out: Path, *, pool: Pool, done: Done) -> None:
    """Run cells, each unless it is done.

    Of the cells with a view that is new, one goes first: the others find its features on the disk.

    Args:
        config: the arena.
        cells: in the order of their start.
        out: the arena's folder.
        pool: runs them.
        done: hears of each that is finished.

    Raises:
        StoppedError: somebody asked to stop.
        OpticNerveError: a cell cannot be trained.
    """
    waiting, running, seen = list(cells), list[Cell](), set[str]()
    try:
        while waiting or running:
            for cell in startable(config, waiting, running, seen)[: max(pool.num_slots - len(running), 0)]:
                waiting.remove(cell)
                running.append(cell)
                pool.start(Work(config=config, cell=cell, out=out))
            for work, result in pool.wait():
                running.remove(work.cell)
                done(work.cell, result)
                seen.add(config.view(work.cell.entrant).name)
    finally:
        pool.stop()


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


@contextmanager
def _one_thread() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
