"""A whole run: a recipe's stages one after another, into a folder."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from transformers.utils import logging

from opticnerve.data.bad_samples import check_bad_share
from opticnerve.data.good_samples import Source
from opticnerve.holding import Hold
from opticnerve.ranks import by_first, gather
from opticnerve.train import folder, starts
from opticnerve.train.checkpoints import read_manifest
from opticnerve.train.elastic import open_budgets
from opticnerve.train.errors import TrainingError
from opticnerve.train.feature_store import FeatureStore, seer, store_name
from opticnerve.train.feed import samples_seen
from opticnerve.train.processes import Processes, joined
from opticnerve.train.progress import Logged, Progress, Silent
from opticnerve.train.recipe import Data, Recipe, Stage
from opticnerve.train.sources import open_feed
from opticnerve.train.stage import Place, seeded, train_stage
from opticnerve.train.starts import Start
from opticnerve.train.stopping import StopRequest, stop_on_signals
from opticnerve.train.stored import open_folders


def run(recipe: Recipe, out: str | Path, *, resume: bool = True, progress: Progress | None = None) -> Path:
    """Train what a recipe says; go on where an earlier run into the same folder ended.

    Under torchrun or accelerate launch every process calls it; `out` must be one folder for all of them.

    Args:
        recipe: model and stages.
        out: output folder; see `opticnerve.train.folder` for what is in it.
        resume: go on; otherwise what an earlier run has left there is removed.
        progress: hears how it goes, in the first process; None listens to nothing.

    Returns:
        Folder of the final model and its processor.

    Raises:
        StoppedError: somebody asked to stop; the run is saved.
        TrainingError: the recipe, the folder or the processes do not allow it.
        OpticNerveError: a part of the model or the data cannot be opened.
    """
    out = Path(out)
    hold = Hold(out, doing="training", error=TrainingError)
    with joined() as processes:
        try:
            by_first(hold.take)
            by_first(lambda: folder.claim(out, recipe, resume=resume))
            listener = Logged(out / "log.jsonl", progress or Silent())
            with stop_on_signals() as stop, seeded(recipe.seed), without_bars():
                for index in range(len(recipe.stages)):
                    _stage(recipe, index, out, processes=processes, progress=listener, stop=stop)
            return by_first(lambda: folder.publish(_folder(recipe, len(recipe.stages) - 1, out), out))
        finally:
            hold.let_go()


@contextmanager
def without_bars() -> Generator[None]:
    """Keep transformers from drawing a bar for each file that it reads or writes."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _stage(
    recipe: Recipe, index: int, out: Path, *, processes: Processes, progress: Progress, stop: StopRequest
) -> None:
    """Train a stage that is not done."""
    stage, own = recipe.stages[index], _folder(recipe, index, out)
    if by_first(lambda: folder.is_done(own)):
        if processes.is_first:
            progress.said(f'stage "{stage.name}" is done: {own / folder.MODEL}')
        return
    previous = _folder(recipe, index - 1, out) if index else None
    start = starts.after(previous) if previous else starts.first(recipe.model, seed=recipe.seed)
    put_back = starts.adapt(start, stage, model=recipe.model, is_last=index == len(recipe.stages) - 1)
    bad_samples = out / "bad_samples.jsonl"
    stores = None
    if stage.cache_features:
        stores = partial(_stored, recipe, stage, start, out, processes=processes, progress=progress)
    budgets = open_budgets(start, stage, model=recipe.model)
    turns = budgets.processors if budgets else ()
    folders = open_folders(stage, start)
    feed = open_feed(recipe, stage, start.processor, log=bad_samples, stores=stores, folders=folders, turns=turns)
    place = Place(
        recipe=recipe, stage=stage, folder=own, previous=previous, processes=processes, progress=progress, stop=stop
    )
    seen = [read_manifest(_folder(recipe, done, out) / folder.MODEL)["num_seen"] for done in range(index)]
    num_seen = sum(seen) + samples_seen(stage, feed)

    def finish() -> None:
        put_back()
        found = by_first(lambda: check_bad_share(bad_samples, num_seen=num_seen, max_share=recipe.max_bad_share))
        if processes.is_first and found:
            progress.said(
                f"{len(found)} of {num_seen} samples were bad and passed over; they are named in {bad_samples}"
            )

    train_stage(place, start.model, start.processor, feed, budgets=budgets, finish=finish)


def _stored(
    recipe: Recipe,
    stage: Stage,
    start: Start,
    out: Path,
    data: Data,
    source: Source,
    *,
    processes: Processes,
    progress: Progress,
) -> FeatureStore:
    """Compute the features of a source that are not there yet, each process its share of them."""
    opened = [(name, rate) for each in recipe.stages for name, rate in each.open.items()]
    if any(rate and name.split(".")[0] == "encoder" for name, rate in opened):
        raise TrainingError(
            f'stage "{stage.name}" keeps features of an encoder that a stage of this recipe trains: leave the encoder'
            " frozen in all stages, or set cache_features to false."
        )
    plain = data.model_dump(mode="json", exclude_defaults=True)
    name = store_name(plain, start.model, start.processor, precision=stage.precision)
    store = FeatureStore(Path(recipe.features or out / "features") / name, source)
    missing = by_first(store.missing)
    if missing and processes.is_first:
        progress.said(
            f'computing the features of {len(source):,} samples for stage "{stage.name}", once for all epochs'
        )
    torch.nn.Module.to(start.model, processes.device)
    see = seer(start.model, start.processor, precision=stage.precision)
    for shard in missing[processes.rank :: processes.count]:
        store.make(shard, see)
    gather("")  # nobody reads before all have written
    return store


def _folder(recipe: Recipe, index: int, out: Path) -> Path:
    return folder.stage_folder(out, index, recipe.stages[index].name)
