"""What happens between two steps: reports, and stopping when asked."""

from time import perf_counter
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from opticnerve.train.progress import Progress, StepReport
from opticnerve.train.step_sums import StepSums

_OWN = {"loss", "grad_norm", "learning_rate", "epoch", "images", "tokens"}
"""Entries of a log line that are not the objective's."""


class Reporter(TrainerCallback):
    """Tells how the steps go; in the first process only.

    Args:
        stage: its name.
        progress: who is told.
    """

    def __init__(self, stage: str, progress: Progress) -> None:
        self.stage = stage
        self.progress = progress
        self.rates: dict[str, float] = {}
        self._start = 0.0
        self._last = 0

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._start, self._last = perf_counter(), state.global_step

    @override
    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.rates = {group["part"]: float(group["lr"]) for group in kwargs["optimizer"].param_groups}

    @override
    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs: dict[str, float] = kwargs["logs"]
        if not state.is_world_process_zero or "loss" not in logs:
            return
        elapsed = max(perf_counter() - self._start, 1e-9)
        num_steps = max(state.global_step - self._last, 1)
        self._start, self._last = perf_counter(), state.global_step
        self.progress.stepped(
            StepReport(
                stage=self.stage,
                step=state.global_step,
                num_steps=state.max_steps,
                loss=logs["loss"],
                grad_norm=logs.get("grad_norm", 0.0),
                rates=self.rates,
                images_per_s=logs["images"] / elapsed,
                tokens_per_s=logs["tokens"] / elapsed,
                left_s=elapsed / num_steps * (state.max_steps - state.global_step),
                extras={name: value for name, value in logs.items() if name not in _OWN},
            )
        )


class Control(TrainerCallback):
    """Saves and stops after a step in which some process was asked to, and keeps to this run's intervals.

    Args:
        sums: knows of the request.
    """

    def __init__(self, sums: StepSums) -> None:
        self.sums = sums

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # A checkpoint brings along the intervals of the run that wrote it.
        state.logging_steps, state.save_steps = int(args.logging_steps), int(args.save_steps)

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.sums.must_stop:
            control.should_save = control.should_training_stop = True
