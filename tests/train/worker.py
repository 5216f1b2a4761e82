"""Trains in a process of its own, and ends it: worker.py RECIPE.yaml OUT [--kill-at STAGE STEP | ...]."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import yaml

from opticnerve.train import checkpoints
from opticnerve.train.recipe import Recipe
from opticnerve.train.run import run


class Killer:
    """Ends the process with SIGKILL after a step."""

    def __init__(self, stage: str, step: int) -> None:
        self.stage = stage
        self.step = step

    def started(self, report: Any) -> None:
        pass

    def stepped(self, report: Any) -> None:
        if (report.stage, report.step) == (self.stage, self.step):
            os.kill(os.getpid(), signal.SIGKILL)

    def said(self, line: str) -> None:
        pass


class Later(Killer):
    """Ends the process with SIGKILL some milliseconds after its first step, whatever it is doing."""

    def __init__(self, ms: float) -> None:
        super().__init__("", 0)
        self.timer = threading.Timer(ms / 1000, os.kill, (os.getpid(), signal.SIGKILL))

    def stepped(self, report: Any) -> None:
        if not self.timer.is_alive():
            self.timer.start()


def kill_in_write(count: int) -> None:
    """End the process while the n-th file of this run is flushed to disk."""
    flush, calls = checkpoints._flush, []

    def flush_or_die(path: Path) -> None:
        calls.append(path)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(path)

    checkpoints._flush = flush_or_die


def main() -> None:
    source, out, *rest = sys.argv[1:]
    recipe = Recipe.model_validate(yaml.safe_load(Path(source).read_text()))
    killer = Killer("", 0)
    is_first_try = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if rest[:1] == ["--kill-at"] or (rest[:1] == ["--kill-once-at"] and is_first_try):
        killer = Killer(rest[1], int(rest[2]))
    if rest[:1] == ["--kill-in-write"] and os.environ.get("RANK", "0") == "0":
        kill_in_write(int(rest[1]))
    if rest[:1] == ["--kill-in-ms"]:
        killer = Later(float(rest[1]))
    run(recipe, out, progress=killer)


if __name__ == "__main__":
    main()
