"""The cells of an arena: one method at one budget, trained with one seed."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from opticnerve.arena.config import ArenaConfig, Contender, Entrant
from opticnerve.errors import UnknownNameError
from opticnerve.train.recipe import Recipe, Stage

RESULT = "result.json"
"""In the folder of a cell that is done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One training run of an arena."""

    contender: Contender
    reduction: int
    """Features of the first view for each visual token."""
    seed: int
    rate: float
    """Factor on the learning rates of all stages."""
    is_search: bool
    """Whether it only helps to choose the rate: fewer steps, and validation questions instead of the test."""

    @property
    def group(self) -> str:
        """Name of the method at its budget, over all seeds."""
        return f"{self.contender.name}-{self.reduction}x"

    @property
    def entrant(self) -> Entrant:
        """Method, options and view."""
        return self.contender.at[self.reduction]

    @property
    def trained(self) -> "Cell":
        """The cell whose training run this is: its own, unless one connector is asked at several reductions."""
        return replace(self, reduction=next(iter(self.contender.at))) if self.contender.is_elastic else self

    @property
    def asked(self) -> "tuple[Cell, ...]":
        """Cells that are asked after its training, itself the first."""
        if not self.contender.is_elastic:
            return (self,)
        return tuple(replace(self, reduction=reduction) for reduction in self.contender.at)

    def name(self, config: ArenaConfig) -> str:
        """Name its folder.

        Args:
            config: the arena.
        """
        share = f"-share{config.search_share:g}" if self.is_search else ""
        return f"{self.group}-seed{self.seed}-rate{self.rate:g}{share}"

    def folder(self, config: ArenaConfig, out: Path) -> Path:
        """Say where it is trained.

        Args:
            config: the arena.
            out: the arena's folder.
        """
        return out / "cells" / self.name(config)


def groups(config: ArenaConfig, only: Collection[str] = ()) -> Iterator[tuple[Contender, int]]:
    """List who competes at which reduction: every contender at those that it has, elastic ones at all of them.

    Args:
        config: the arena.
        only: names of contenders; empty for all.

    Raises:
        UnknownNameError: a contender is not there.
    """
    names = [one.name for one in config.contenders]
    for name in only:
        if name not in names:
            raise UnknownNameError("contender", name, names)
    for contender in config.contenders:
        for reduction in contender.at:
            is_wanted = reduction in config.reductions or reduction == 1 or contender.is_elastic
            if is_wanted and (not only or contender.name in only):
                yield contender, reduction


def cell_recipe(config: ArenaConfig, cell: Cell, out: Path) -> Recipe:
    """Write down how a cell is trained.

    Args:
        config: the arena.
        cell: which one.
        out: the arena's folder, where cells with the same view share the encoder's features.
    """
    return Recipe(
        name=cell.name(config),
        source=f"arena {config.name}",
        model=config.model(cell.entrant),
        stages=tuple(_stage(config, cell, stage) for stage in config.stages),
        seed=cell.seed,
        save_every=1_000_000,  # a cell is short: a stage that was killed in its middle is trained again
        log_every=1,
        features=str(out.absolute() / "features"),
    )


def _stage(config: ArenaConfig, cell: Cell, stage: Stage) -> Stage:
    share = config.search_share if cell.is_search else 1
    length = {"steps": max(round(stage.steps * share), 1)} if stage.steps else {"epochs": (stage.epochs or 1) * share}
    opened = {name: rate * cell.rate for name, rate in stage.open.items()}
    options = dict(cell.contender.align_options) if stage.objective.kind == "alignment" else {}
    budgets = [entrant.method_options for entrant in cell.contender.at.values()]
    changes = {
        "open": opened,
        "method_options": {**stage.method_options, **options},
        "elastic": tuple(budgets) if cell.contender.is_elastic and not options else stage.elastic,
    }
    return stage.model_copy(update={**changes, **length})
