"""One cell, from nothing to its result."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from opticnerve.arena.card import write_card
from opticnerve.arena.cells import RESULT, Cell, cell_recipe
from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.learned import read_log
from opticnerve.arena.questions import pages
from opticnerve.arena.records import read_json, write_json
from opticnerve.arena.results import assess, facts
from opticnerve.train.folder import MODEL, stage_folder
from opticnerve.train.progress import Progress, Silent
from opticnerve.train.recipe import Recipe
from opticnerve.train.run import run, without_bars
from opticnerve.views import fitting_method
from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor, set_budget


def run_cell(config: ArenaConfig, cell: Cell, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train and ask one cell, unless it is done; what it trained is removed when its result is written.

    A connector for several reductions is asked at each of them, and each has a result in a folder of its own.

    Args:
        config: the arena.
        cell: which one; of those that share a training run, the first.
        out: the arena's folder.
        progress: hears how the training goes.

    Returns:
        The result, as it stands in the cell's folder.

    Raises:
        StoppedError: somebody asked to stop.
        OpticNerveError: it cannot be trained, or its visual tokens are not those of the budget.
    """
    home, recipe = cell.folder(config, out), cell_recipe(config, cell, out)
    if not (home / RESULT).is_file():
        model, processor = _open(run(recipe, home, progress=progress or Silent()))
        questions = list(pages(config.validation if cell.is_search else config.test))
        learned = asdict(read_log(home / "log.jsonl", recipe))
        results: list[dict[str, Any]] = []
        for one in cell.asked:
            if cell.contender.is_elastic:
                _set_budget(one, model, processor)
            results.append({**facts(config, one), **learned, **assess(config, one, model, processor, questions)})
        if cell.contender.is_elastic and not cell.is_search:
            _set_budget(cell, model, processor)
            write_card(config, cell, out, model, results)
        for one, result in reversed(list(zip(cell.asked, results, strict=True))):  # its own last: then all are there
            write_json(one.folder(config, out) / RESULT, result)
    _tidy(recipe, home)
    return read_json(home / RESULT)


def _set_budget(cell: Cell, model: OpticNerveForConditionalGeneration, processor: OpticNerveProcessor) -> None:
    """Let a model connect as the cell has it, with the weights that it was trained to."""
    entrant = cell.entrant
    set_budget(model, processor, fitting_method(entrant.method, model.config.sight, entrant.method_options))


def _open(folder: Path) -> tuple[OpticNerveForConditionalGeneration, OpticNerveProcessor]:
    """Load a trained model, on the GPU if there is one."""
    with without_bars():
        model = OpticNerveForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return model.eval().to(device), OpticNerveProcessor.from_pretrained(folder)


def _tidy(recipe: Recipe, home: Path) -> None:
    """Remove weights: recipe and log stay, from which the cell can be trained again."""
    trained = [stage_folder(home, index, stage.name) for index, stage in enumerate(recipe.stages)]
    for folder in (*trained, home / MODEL):
        shutil.rmtree(folder, ignore_errors=True)
