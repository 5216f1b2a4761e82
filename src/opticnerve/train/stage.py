"""One stage: from a model to a model, by way of checkpoints."""

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import LoraModel
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from transformers import PreTrainedModel, ProcessorMixin

from opticnerve.ranks import by_first, gather
from opticnerve.train import checkpoints
from opticnerve.train.arguments import training_arguments
from opticnerve.train.batches import split_batch
from opticnerve.train.callbacks import Control, Reporter
from opticnerve.train.elastic import Budgets
from opticnerve.train.engine import StageTrainer
from opticnerve.train.errors import StoppedError, TrainingError
from opticnerve.train.feed import Feed, count_tokens, num_steps, samples_seen
from opticnerve.train.folder import MODEL
from opticnerve.train.lora import MARK, add_adapters, merge_adapters
from opticnerve.train.objectives import OBJECTIVES, Objective
from opticnerve.train.parts import select
from opticnerve.train.processes import Processes
from opticnerve.train.progress import Progress
from opticnerve.train.recipe import Recipe, Stage
from opticnerve.train.report import TrainReport, check_unchanged, fingerprints, part_reports
from opticnerve.train.sharding import gathered, shard
from opticnerve.train.state_files import copy_into
from opticnerve.train.step_sums import StepSums
from opticnerve.train.stopping import StopRequest
from opticnerve.train.task import Task

OBJECTIVE_WEIGHTS = "objective.safetensors"
"""What an objective has learned, for the next stage's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where and with whom a stage is trained."""

    recipe: Recipe
    stage: Stage
    folder: Path
    """The stage's own."""
    previous: Path | None
    """Folder of the stage before."""
    processes: Processes
    progress: Progress
    stop: StopRequest


def train_stage(
    place: Place,
    model: PreTrainedModel,
    processor: ProcessorMixin,
    feed: Feed,
    *,
    budgets: Budgets | None = None,
    finish: Callable[[], None] = lambda: None,
) -> None:
    """Train a stage, from its newest whole checkpoint if there is one, and write its model.

    Args:
        place: where and with whom.
        model: where the stage starts; it is changed.
        processor: the model's.
        feed: the data.
        budgets: that the connector takes turns with, as the data do.
        finish: called by every process when the last step is done, before the model is written.

    Raises:
        StoppedError: somebody asked to stop; a checkpoint was written.
        TrainingError: the stage cannot be trained as the recipe says.
    """
    cast(Any, model).float()
    with seeded(place.recipe.seed):
        task, adapters = _task(place, model, processor, budgets)
        trainer, found = _engine(place, task, feed)
        torch.manual_seed(place.recipe.seed + place.processes.rank)  # dropout differs from process to process
        trainer.train(resume_from_checkpoint=str(found) if found else None)
    _check_stopped(place, trainer)
    check_unchanged(trainer.frozen, fingerprints(task.selection))
    finish()
    _write_model(place, task, processor, adapters, num_seen=samples_seen(place.stage, feed))


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed the global generators, which transformers and dropout draw from, and put them back afterwards.

    Args:
        seed: of the recipe.
    """
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _task(
    place: Place, model: PreTrainedModel, processor: ProcessorMixin, budgets: Budgets | None
) -> tuple[Task, LoraModel | None]:
    """Put together what is trained; freeze the rest."""
    stage, processes = place.stage, place.processes
    objective = OBJECTIVES[stage.objective.kind](stage.objective, model, processor)
    if place.previous is not None and (place.previous / OBJECTIVE_WEIGHTS).is_file():
        _carry_over(objective, place.previous / OBJECTIVE_WEIGHTS)
    parts: dict[str, torch.nn.Module] = {**cast(Any, model).parts, "objective": objective}
    is_whole = stage.lora is not None or stage.optimizer == "muon"
    if stage.sharding == "fsdp2" and (is_whole or processes.count == 1):
        raise TrainingError(
            "fsdp2 shares weights out among several processes: it needs several, and neither lora nor muon, which need"
            " whole matrices."
        )
    adapters = add_adapters(parts["llm"], stage.lora) if stage.lora is not None else None
    only = {"llm": MARK} if adapters is not None else {}
    task = Task(model, objective, selection=select(parts, stage.open, only=only), budgets=budgets)
    if stage.gradient_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    if stage.sharding == "fsdp2":
        shard(task, device=processes.device, num_processes=processes.count)
        task.selection = select(parts, stage.open)  # the parameters are new ones
    return task, adapters


def _engine(place: Place, task: Task, feed: Feed) -> tuple[StageTrainer, Path | None]:
    """Set the engine up, say what it is going to do, and find where it goes on."""
    recipe, stage, processes = place.recipe, place.stage, place.processes
    split = split_batch(
        batch_size=stage.batch_size,
        micro_batch_size=stage.micro_batch_size,
        num_processes=processes.count,
        rank=processes.rank,
    )
    steps = num_steps(stage, num_samples=feed.num_samples)
    found = by_first(lambda: _newest(place))
    first_step = checkpoints.step_of(found) if found else 0
    sums = StepSums(place.stop, processes.device)
    trainer = StageTrainer(
        task,
        training_arguments(recipe, stage, folder=place.folder, split=split, num_steps=steps),
        stage=stage,
        loader=feed.loader(split, num_steps=steps, first_step=first_step, num_workers=recipe.num_workers),
        sums=sums,
        frozen=fingerprints(task.selection),
        processes=processes,
        callbacks=[Reporter(stage.name, place.progress), Control(sums)],
    )
    if processes.is_first:
        place.progress.started(
            TrainReport(
                stage=stage.name,
                parts=part_reports(task.selection),
                num_samples=feed.num_samples,
                num_steps=steps,
                first_step=first_step,
                batch_size=split.batch_size,
                micro_batch_size=split.micro_batch_size,
                num_processes=split.num_processes,
                tokens_per_batch=count_tokens(feed, split),
                compute="bfloat16" if stage.precision == "bf16" else "float32",
            )
        )
    return trainer, found


def _newest(place: Place) -> Path | None:
    """Find where the stage goes on; say which checkpoints are broken."""
    checkpoints.remove_temporary(place.folder)
    found = checkpoints.newest_complete(place.folder)
    for broken in found.broken:
        place.progress.said(f"{broken.path} is passed over: {broken.reason}")
    if found.path is not None:
        place.progress.said(f"going on from {found.path}")
    return found.path


def _check_stopped(place: Place, trainer: StageTrainer) -> None:
    step, steps = trainer.state.global_step, trainer.state.max_steps
    if step < steps:
        names = [name for name in gather(place.stop.signal_name) if name]
        raise StoppedError(
            f"stopped by {names[0] if names else 'request'} after step {step} of {steps} of stage"
            f' "{place.stage.name}"; all of it is saved in {place.folder}. Run the same command again to go on.'
        )


def _write_model(
    place: Place, task: Task, processor: ProcessorMixin, adapters: LoraModel | None, *, num_seen: int
) -> None:
    """Write the stage's result; it appears when it is whole, and the stage is done then."""
    if adapters is not None:
        merge_adapters(adapters)
    model = cast(PreTrainedModel, task.model)
    weights = gathered(model) if task.is_sharded else None
    learned = gathered(task.objective) if task.is_sharded else task.objective.state_dict()

    def fill(target: Path) -> None:
        if place.processes.is_first:
            model.save_pretrained(target, state_dict=weights)
            processor.save_pretrained(target)
            if learned:
                file = place.folder / OBJECTIVE_WEIGHTS
                save_file({name: tensor.cpu().contiguous() for name, tensor in learned.items()}, file)

    facts = {"stage": place.stage.name, "num_seen": num_seen}
    checkpoints.write(place.folder / MODEL, fill, is_first=place.processes.is_first, facts=facts)


def _carry_over(objective: Objective, path: Path) -> None:
    """Take over what the objective of the stage before has learned, where the names are the same."""
    own, stored = objective.state_dict(), load_file(path)
    copy_into(
        {name: own[name] for name in own if name in stored}, {n: stored[n] for n in stored if n in own}, source=path
    )
