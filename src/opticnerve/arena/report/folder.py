"""What an arena left in its folder, read and checked."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from opticnerve.errors import DataError

_Read = TypeVar("_Read")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One question of the test, and what a cell answered."""

    image: str
    """Name of what was looked at."""
    kind: str
    """Of the question."""
    height_px: float | None
    """Height of the glyphs that are asked for, in pixels of the page; None where there are none."""
    is_right: bool
    """Whether the answer matches."""
    wanted: str
    """The right answer."""
    given: str
    """The cell's answer."""
    question: str = ""
    """What was asked; empty where it was not kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """Which patches of an image a selection kept."""

    image: str
    """Name of what was looked at."""
    grid: tuple[int, int]
    """Rows and columns of patches, over the whole image."""
    kept: tuple[int, ...]
    """Places of patches, row by row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellFacts:
    """What a cell is, and what it costs."""

    contender: str
    """Name of who competes."""
    is_baseline: bool
    """Whether it is one of those that methods must beat."""
    is_elastic: bool = False
    """Whether one connector was trained for this and other budgets."""
    method: str
    """Of the connector."""
    view: str
    """How the image was looked at."""
    reduction: int
    """Features of the view for each visual token."""
    rate: float
    """Factor on the learning rates."""
    tokens: int
    """Visual tokens per image."""
    encoder_flops: float
    """Of the encoder, per image."""
    connector_flops: float
    """Of the connector, per image."""
    prefill_flops: float
    """Of the language model, until the first token."""
    first_token_ms: float
    """Measured milliseconds to the first token."""
    kv_bytes: float
    """Of the visual tokens' keys and values."""
    trainable_params: int
    """Parameters that were trained."""
    train_seconds: float
    """Of all stages."""
    curve: tuple[tuple[int, float], ...] = ()
    """Steps and losses of the last stage."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result(CellFacts):
    """One trained and evaluated cell."""

    seed: int
    """Of the training."""
    steps: int
    """Of all stages."""
    answers: tuple[Reply, ...]
    """To the test."""
    method_options: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of the connector."""
    kept: tuple[Kept, ...] = ()
    """Of a few images, by selections."""

    @property
    def group(self) -> str:
        """Name of the contender at its budget, over all seeds."""
        return f"{self.contender}-{self.reduction}x"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What was run, on what."""

    config: dict[str, Any] = field(default_factory=dict[str, Any])
    """The whole configuration."""
    versions: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of the libraries."""
    hardware: Any = ""
    """What it ran on."""
    command: str = ""
    """That started it."""
    date: str = ""
    """When."""
    rates: dict[str, float] = field(default_factory=dict[str, float])
    """The factor on all learning rates that each group was trained with."""

    @property
    def error_rate(self) -> float:
        """How often equals may be called different."""
        return float(self.config.get("error_rate", 0.05))


@dataclass(frozen=True, kw_only=True)
class ArenaFolder:
    """An arena that ran, to its end or not."""

    path: Path
    """Of the folder."""
    settings: Settings
    """What was run; empty where it was not written yet."""
    results: tuple[Result, ...]
    """Of the cells that are finished, searches of rates aside: in the order of the contenders."""
    scores: dict[str, dict[str, float]]
    """Of the search: of each group, the validation score of each factor on the learning rates."""

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Name the cells that the configuration asks for and that have no result: group and seed."""
        done = {(one.group, one.seed) for one in self.results}
        return tuple(f"{group}, seed {seed}" for group, seed in _planned(self.settings.config, done))


def read_folder(path: Path) -> ArenaFolder:
    """Read what an arena has written so far.

    Args:
        path: the arena's folder.

    Raises:
        DataError: nothing is finished in there, or a file is damaged.
    """
    scored = [file for file in sorted(path.glob("cells/*/result.json")) if "-share" not in file.parent.name]
    if not scored:
        raise DataError(
            f"{path} holds no finished cell of an arena: looked for {path / 'cells' / '*' / 'result.json'}."
            " Run `opticnerve arena` into this folder first, or name the folder that it wrote to"
        )
    settings = (
        _read(path / "arena.json", TypeAdapter(Settings).validate_python)
        if (path / "arena.json").exists()
        else Settings()
    )
    results = [_read(file, TypeAdapter(Result).validate_python) for file in scored]
    kept = [one for one in results if settings.rates.get(one.group, one.rate) == one.rate]
    order = [str(one.get("name")) for one in settings.config.get("contenders", ())]
    order += [one.contender for one in kept]
    kept.sort(key=lambda one: (order.index(one.contender), one.reduction, one.seed))
    searched = path / "rates.json"
    scores = _read(searched, TypeAdapter(dict[str, dict[str, float]]).validate_python) if searched.exists() else {}
    return ArenaFolder(path=path, settings=settings, results=tuple(kept), scores=scores)


def _read(path: Path, check: Callable[[Any], _Read]) -> _Read:
    try:
        return check(json.loads(path.read_text()))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f'{path} cannot be read: "{place}": {first["msg"]}. Delete it and run the arena again'
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}. Delete it and run the arena again") from error


def _planned(config: Mapping[str, Any], done: set[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    for one in config.get("contenders", ()):
        for reduction in map(int, one["at"]):
            for seed in config.get("seeds", ()):
                cell = (f"{one['name']}-{reduction}x", seed)
                if (reduction == 1 or reduction in config.get("reductions", ())) and cell not in done:
                    yield cell
