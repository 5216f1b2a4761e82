"""What `opticnerve train` shows: what trains, how it goes, and what came of it."""

import sys
from dataclasses import asdict
from pathlib import Path

from rich.progress import TaskID
from typing_extensions import override

from opticnerve.cli.bar import WithBar
from opticnerve.cli.terminal import complain, print_json, print_table, say, short_count
from opticnerve.train.progress import StepReport
from opticnerve.train.recipe import Recipe
from opticnerve.train.report import TrainReport

_WIDE = 110
"""Columns of a terminal that has room for rates and speed."""


class Watch(WithBar):
    """Prints a table before each stage, then a bar on a terminal, or else a line for each report.

    Args:
        recipe: what is trained.
        is_quiet: no tables; bar and lines go to stderr all the same.
    """

    def __init__(self, recipe: Recipe, *, is_quiet: bool) -> None:
        super().__init__()
        self.recipe = recipe
        self.reports: dict[str, tuple[TrainReport, StepReport | None]] = {}
        self._is_quiet = is_quiet
        self._is_wide = not self._console.is_terminal or self._console.width >= _WIDE
        self._task: TaskID | None = None

    @override
    def __enter__(self) -> None:
        """Do nothing yet: the bar appears with the first stage."""

    def started(self, report: TrainReport) -> None:
        """Show what a stage is going to do."""
        self.reports[report.stage] = (report, None)
        self._bar.stop()
        if not self._is_quiet:
            _print_parts(report, place=[stage.name for stage in self.recipe.stages].index(report.stage), of=self.recipe)
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(report.stage, total=report.num_steps, completed=report.first_step, how="")
        if self._is_drawn:
            self._bar.start()

    def stepped(self, report: StepReport) -> None:
        """Show how the last steps went."""
        start, _ = self.reports[report.stage]
        self.reports[report.stage] = (start, report)
        how = _how(report, is_whole=self._is_wide)
        if self._is_drawn and self._task is not None:
            self._bar.update(self._task, completed=report.step, how=how)
        else:
            sys.stderr.write(f"{report.stage} {report.step}/{report.num_steps}  {how}\n")

    def said(self, line: str) -> None:
        """Show a remark."""
        complain(line)


def print_end(recipe: Recipe, watch: Watch, *, model: Path, folder: Path, as_json: bool) -> None:
    """Say where the model is and how each stage ended.

    Args:
        recipe: what was trained.
        watch: what was heard.
        model: the final model.
        folder: the run's.
        as_json: as one JSON document.
    """
    if as_json:
        stages = [
            {"started": asdict(start), "ended": asdict(end) if end else None} for start, end in watch.reports.values()
        ]
        print_json({"recipe": recipe.name, "out": str(folder), "model": str(model), "stages": stages})
        return
    for start, end in watch.reports.values():
        if end:
            say(f"{start.stage}: loss {end.loss:.4g} at step {end.step}")
    say(f"The trained model is in {model}. Ask it: opticnerve ask IMAGE QUESTION --model {model}")


def _print_parts(report: TrainReport, *, place: int, of: Recipe) -> None:
    rows = [
        [
            part.name,
            short_count(part.parameters),
            short_count(part.trained) if part.trained else "frozen",
            f"{part.rate:.3g}" if part.trained else "",
            part.precision,
        ]
        for part in report.parts
    ]
    samples = f" of {report.num_samples:,} samples" if report.num_samples else ""
    processes = f", {report.num_processes} processes" if report.num_processes > 1 else ""
    done = f", {report.first_step:,} of them done" if report.first_step else ""
    steps = f"{report.num_steps:,} step{'s' if report.num_steps > 1 else ''}"
    title = (
        f"{of.name}, stage {place + 1} of {len(of.stages)}, {report.stage}: {steps}{done}, "
        f"batches of {report.batch_size}{samples}, in {report.compute}{processes}"
    )
    print_table(title, ["part", "parameters", "trained", "rate", "weights"], rows)


def _how(report: StepReport, *, is_whole: bool) -> str:
    """Write how the last steps went; only loss and time where there is no room for the rest."""
    minutes, seconds = divmod(round(report.left_s), 60)
    hours, minutes = divmod(minutes, 60)
    loss, left = f"loss {report.loss:.4g}", f"{hours}:{minutes:02}:{seconds:02} left"
    if not is_whole:
        return f"{loss}  {left}"
    rates = ", ".join(f"{rate:.2g}" for rate in dict.fromkeys(report.rates.values()))
    speed = f"{report.images_per_s:.3g} images/s  {report.tokens_per_s:,.0f} tokens/s"
    return f"{loss}  rate {rates}  {speed}  {left}"
