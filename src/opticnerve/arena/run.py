"""A whole arena: rates are chosen, cells trained and asked; what is done stays done."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from pydantic import ValidationError

from opticnerve.arena.budget import check_budgets
from opticnerve.arena.cells import RESULT, Cell
from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.examples import write_examples
from opticnerve.arena.local_pool import local_pool, num_cores
from opticnerve.arena.pool import Done, Pool, run_cells
from opticnerve.arena.questions import first_page
from opticnerve.arena.records import read_json, write_json
from opticnerve.arena.search import Scores, choose, note, scored_cells, search_cells
from opticnerve.holding import Hold
from opticnerve.train.errors import TrainingError
from opticnerve.train.folder import differing

ARENA = "arena.json"
"""What is run, on what."""
RATES = "rates.json"
"""Scores of the search."""
_LIBRARIES = ("opticnerve", "torch", "transformers", "numpy", "pillow")
_MAY_GROW = ("contenders", "reductions", "seeds", "error_rate", "views")
"""Keys that may have other content when an arena goes on: cells that are done stay what they are."""


@runtime_checkable
class Listener(Protocol):
    """Hears how an arena goes."""

    def planned(self, num_cells: int) -> None:
        """Hear how many more cells there are, those that are done included."""
        ...

    def finished(self, name: str, result: Mapping[str, Any], *, was_done: bool) -> None:
        """Hear of a cell that is finished."""
        ...


class Silence:
    """Hears nothing."""

    def planned(self, num_cells: int) -> None:
        """Hear how many more cells there are."""

    def finished(self, name: str, result: Mapping[str, Any], *, was_done: bool) -> None:
        """Hear of a cell that is finished."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of an arena."""

    out: Path
    """Its folder."""
    rates: dict[str, float]
    """Factor on the learning rates that each contender was given at each reduction."""
    results: tuple[dict[str, Any], ...]
    """Of the cells, searches aside."""


def run_arena(
    config: ArenaConfig,
    out: str | Path,
    *,
    only: Sequence[str] = (),
    jobs: int = 0,
    pool: Pool | None = None,
    command: str = "",
    listener: Listener | None = None,
) -> Outcome:
    """Run an arena; go on where an earlier run into the same folder ended.

    Args:
        config: as `load_arena` gives it.
        out: output folder.
        only: names of contenders to run; empty for all. The others can be run later.
        jobs: cells at once on this machine; 0 is one for each core, or a single one where there is a GPU.
        pool: runs the cells elsewhere; without one they run on this machine.
        command: that started it, for the report.
        listener: hears how it goes.

    Raises:
        UnknownNameError: a contender is not there.
        SpecError: a contender does not keep to the budget.
        TrainingError: the folder holds another arena, or a cell cannot be trained.
        StoppedError: somebody asked to stop.
    """
    out, listener = Path(out), listener or Silence()
    height, width = first_page(config.test).size
    check_budgets(config, height_px=height, width_px=width, only=tuple(only))
    hold = Hold(out, doing="working", error=TrainingError)
    hold.take()
    try:
        _claim(config, out, command=command)
        return _run(config, out, only=only, pool=pool or local_pool(jobs), listener=listener)
    finally:
        hold.let_go()


def _run(config: ArenaConfig, out: Path, *, only: Sequence[str], pool: Pool, listener: Listener) -> Outcome:
    scores: Scores = read_json(out / RATES) if (out / RATES).is_file() else {}
    searches = search_cells(config, only)

    def noted(cell: Cell, result: Mapping[str, Any]) -> None:
        note(scores, cell, result)
        write_json(out / RATES, scores)

    listener.planned(len(searches) + len(scored_cells(config, choose(config, scores, only), only)))
    _through(config, searches, out, pool=pool, listener=listener, noted=noted)
    rates = choose(config, scores, only)
    arena = read_json(out / ARENA)
    write_json(out / ARENA, {**arena, "rates": {**arena["rates"], **rates}})
    cells, results = scored_cells(config, rates, only), dict[str, dict[str, Any]]()

    def kept(cell: Cell, result: dict[str, Any]) -> None:
        results[cell.name(config)] = result

    _through(config, cells, out, pool=pool, listener=listener, noted=kept)
    found = tuple(results[cell.name(config)] for cell in cells)
    write_examples(config, out)
    return Outcome(out=out, rates=rates, results=found)


def _through(
    config: ArenaConfig, cells: Sequence[Cell], out: Path, *, pool: Pool, listener: Listener, noted: Done
) -> None:
    """Run the cells that are not done; speak of all of them."""
    done = {cell.name(config) for cell in cells if (cell.trained.folder(config, out) / RESULT).is_file()}

    def hear(cell: Cell) -> None:
        result = read_json(cell.folder(config, out) / RESULT)
        noted(cell, result)
        listener.finished(cell.name(config), result, was_done=cell.name(config) in done)

    def hear_all(cell: Cell, _: dict[str, Any]) -> None:
        for one in cell.asked:
            hear(one)

    for cell in cells:
        if cell.name(config) in done:
            hear(cell)
    left = [cell for cell in cells if cell.name(config) not in done and cell.trained == cell]
    run_cells(config, left, out, pool=pool, done=hear_all)


def _claim(config: ArenaConfig, out: Path, *, command: str) -> None:
    """Write what is run into a new folder, or compare it with what an earlier run wrote there.

    Raises:
        TrainingError: the folder holds another arena.
    """
    data, path = config.model_dump(mode="json"), out / ARENA
    rates: dict[str, float] = {}
    if path.is_file():
        earlier = read_json(path)
        rates = earlier["rates"]
        changed = _changed(_with_defaults(earlier["config"]), data)
        if changed:
            raise TrainingError(
                f"{out} was begun with another arena. What differs: {'; '.join(changed)}. Go on with the configuration"
                f" that stands in its {ARENA}, or choose another folder"
            )
    facts = {
        "config": data,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES},
        "hardware": hardware(),
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rates": rates,
    }
    write_json(path, facts)


def _with_defaults(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add keys that were not there yet when an arena was begun, with the defaults that stand for what was done then."""
    try:
        return ArenaConfig.model_validate(config).model_dump(mode="json")
    except ValidationError:  # it had keys that are no more: they are what differs
        return config


def _changed(earlier: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """List what differs and decides what a cell is; more contenders, seeds and reductions may come later."""
    fixed = [{key: value for key, value in one.items() if key not in _MAY_GROW} for one in (earlier, data)]
    found = differing(*fixed)
    for kind in ("views", "contenders"):
        before, now = ({one["name"]: one for one in data[kind]} for data in (earlier, data))
        found += [
            f"{kind[:-1]} {name}: {line}"
            for name in before.keys() & now.keys()
            for line in differing(_common(before[name], now[name]), _common(now[name], before[name]))
        ]
    if earlier["seeds"][0] != data["seeds"][0]:
        found.append(f"the first seed, of the search, was {earlier['seeds'][0]}, now {data['seeds'][0]}")
    return found


def _common(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out reductions that only one of them has, unless all of them share one training run."""
    if "at" not in one or one.get("is_elastic"):
        return dict(one)
    return {**one, "at": {key: value for key, value in one["at"].items() if key in other["at"]}}


def hardware() -> dict[str, Any]:
    """Say what this runs on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"processor": _processor(), "cores": num_cores(), "gpu": gpu, "threads_per_cell": 1}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
