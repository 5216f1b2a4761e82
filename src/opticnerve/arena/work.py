"""One cell, from nothing to its result."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

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
from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor


def run_cell(config: ArenaConfig, cell: Cell, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train and ask one cell, unless it is done; what it trained is removed when its result is written.

    Args:
        config: the arena.
        cell: which one.
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
        asked = list(pages(config.validation if cell.is_search else config.test))
        learned = asdict(read_log(home / "log.jsonl", recipe))
        write_json(home / RESULT, {**facts(config, cell), **learned, **assess(config, cell, model, processor, asked)})
    _tidy(recipe, home)
    return read_json(home / RESULT)


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
