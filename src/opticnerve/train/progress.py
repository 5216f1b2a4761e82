"""What a run tells about itself while it runs: to whoever listens, and to OUT/log.jsonl."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from opticnerve.train.errors import TrainingError
from opticnerve.train.report import TrainReport


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """The steps since the last report."""

    stage: str
    """Its name."""
    step: int
    """Optimizer steps that are done."""
    num_steps: int
    """Optimizer steps of the stage."""
    loss: float
    """Mean over the steps since the last report; of a step, the mean over its items."""
    grad_norm: float
    """Of the last step, before clipping."""
    rates: dict[str, float]
    """Learning rate of each open name in the last step."""
    images_per_s: float
    """Over all processes."""
    tokens_per_s: float
    """Over all processes, padding left out."""
    left_s: float
    """Seconds that the rest of the stage will take at this speed."""
    extras: dict[str, float]
    """What the objective adds, for each item."""


@runtime_checkable
class Progress(Protocol):
    """Listens to a run; only the first process has one."""

    def started(self, report: TrainReport) -> None:
        """Hear what a stage is going to do, before its first step."""
        ...

    def stepped(self, report: StepReport) -> None:
        """Hear how the last steps went."""
        ...

    def said(self, line: str) -> None:
        """Hear a remark: a checkpoint that was passed over, a stage that was done before."""
        ...


class Silent:
    """Listens to nothing."""

    def started(self, report: TrainReport) -> None:
        """Hear what a stage is going to do."""

    def stepped(self, report: StepReport) -> None:
        """Hear how the last steps went."""

    def said(self, line: str) -> None:
        """Hear a remark."""


class Logged:
    """Writes each report to a file, and hands it on.

    A run that goes on after a stop adds to the file; of a step that was done twice, the last line counts.

    Args:
        path: the file; one JSON object a line.
        listener: who else hears it.
    """

    def __init__(self, path: Path, listener: Progress) -> None:
        self.path = path
        self.listener = listener

    def started(self, report: TrainReport) -> None:
        """Hear what a stage is going to do."""
        self._add({"event": "started", **asdict(report)})
        self.listener.started(report)

    def stepped(self, report: StepReport) -> None:
        """Hear how the last steps went."""
        self._add({"event": "step", **asdict(report)})
        self.listener.stepped(report)

    def said(self, line: str) -> None:
        """Hear a remark."""
        self._add({"event": "said", "line": line})
        self.listener.said(line)

    def _add(self, entry: dict[str, object]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise TrainingError(f"{self.path}: the log cannot be written: {error.strerror or error}.") from error
