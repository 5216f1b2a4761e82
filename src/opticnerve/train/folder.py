"""The output folder of a run: one recipe, one run at a time, one folder for each stage.

OUT/recipe.yaml              what is trained
OUT/<k>-<stage>/checkpoint-N  from which the stage is resumed
OUT/<k>-<stage>/model         the stage's result; it is there when the stage is done
OUT/model                     the last stage's result
OUT/log.jsonl                 reports
OUT/bad_samples.jsonl         samples that were passed over
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from opticnerve.train import checkpoints
from opticnerve.train.errors import TrainingError
from opticnerve.train.recipe import Recipe

MODEL = "model"
"""Folder of a finished model."""

_FREE = {"max_bad_share", "num_workers", "log_every", "save_every", "keep_checkpoints", "report_to"}
"""Keys of a recipe that may change between a run and its resumption: the numbers that come out stay the same."""
_FREE_OF_STAGE = {"micro_batch_size", "gradient_checkpointing"}
"""The same of a stage: numbers stay the same but for rounding."""


def claim(out: Path, recipe: Recipe, *, resume: bool) -> None:
    """Write the recipe into a new folder, or compare it with that of an earlier run.

    Args:
        out: the folder.
        recipe: what is to be trained.
        resume: go on where an earlier run ended; otherwise what it has left is removed.

    Raises:
        TrainingError: the folder holds a run of another recipe.
    """
    path = out / "recipe.yaml"
    data = recipe.model_dump(mode="json")
    if path.exists() and not resume:
        clear(out)
    if path.exists():
        stored = cast("dict[str, Any]", yaml.safe_load(path.read_text(encoding="utf-8")))
        changed = differing(stored, data)
        if changed:
            raise TrainingError(
                f"{out} was begun with another recipe. What differs: {'; '.join(changed)}."
                " Go on with the recipe that stands in its recipe.yaml, or choose another folder."
            )
    written = path.with_name("tmp-recipe.yaml")
    written.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
    written.replace(path)


def clear(out: Path) -> None:
    """Remove what a run has written, and nothing else.

    Args:
        out: the run's folder, with its recipe.
    """
    stored = cast("dict[str, Any]", yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8")))
    names = [stage["name"] for stage in stored["stages"]]
    for path in [stage_folder(out, index, name) for index, name in enumerate(names)] + [out / MODEL]:
        shutil.rmtree(path, ignore_errors=True)
    for name in ("recipe.yaml", "log.jsonl", "bad_samples.jsonl"):
        (out / name).unlink(missing_ok=True)


def differing(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """List the keys that differ and matter.

    Args:
        stored: the recipe of an earlier run.
        wanted: the recipe of this one.
    """
    old, new = dict(_flat(stored, "")), dict(_flat(wanted, ""))
    names = [key for key in dict.fromkeys([*old, *new]) if old.get(key, "absent") != new.get(key, "absent")]
    return [f"{key} was {old.get(key, 'absent')}, now {new.get(key, 'absent')}" for key in names if not _is_free(key)]


def stage_folder(out: Path, index: int, name: str) -> Path:
    """Name the folder of a stage.

    Args:
        out: the run's.
        index: the stage's, from 0.
        name: the stage's.
    """
    return out / f"{index + 1}-{name}"


def is_done(folder: Path) -> bool:
    """Tell whether a stage has its result.

    Args:
        folder: the stage's.

    Raises:
        TrainingError: it has one that is broken.
    """
    model = folder / MODEL
    if not model.is_dir():
        return False
    reason = checkpoints.verify(model)
    if reason:
        raise TrainingError(f"{model} is broken: {reason}. Remove it; its stage is then finished again.")
    return True


def publish(folder: Path, out: Path) -> Path:
    """Show the last stage's result as the run's.

    Args:
        folder: the last stage's.
        out: the run's.

    Returns:
        The folder of the model; its files are those of the stage, on the disk once.
    """
    final, shown = out / MODEL, checkpoints.temporary(out / MODEL)
    for old in (shown, final):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(folder / MODEL, shown, copy_function=_link)
    shown.rename(final)
    return final


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _flat(value: object, name: str) -> Iterator[tuple[str, object]]:
    """Give dotted names and values."""
    if isinstance(value, dict | list) and value:
        items = cast(
            "dict[str, object]", value if isinstance(value, dict) else dict(enumerate(cast("list[object]", value)))
        )
        for key, each in items.items():
            yield from _flat(each, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _is_free(key: str) -> bool:
    first, *rest = key.split(".")
    return first in _FREE or (first == "stages" and rest[1:2] != [] and rest[1] in _FREE_OF_STAGE)
