"""`opticnerve arena [CONFIG]`: compare methods at equal budgets, with equal training."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from opticnerve.cli.exit_codes import INTERRUPTED, MISTAKE

if TYPE_CHECKING:
    from opticnerve.arena.pool import Pool

_Names = Annotated[tuple[str, ...], Parameter(name="--only", negative=())]
_Pairs = Annotated[tuple[str, ...], Parameter(name="--set", negative=())]


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineFlags:
    """What runs the cells."""

    engine: Literal["local", "ray"] = "local"
    """This machine, or a Ray cluster: --out is then a folder that all of its nodes share."""
    address: str = ""
    """Of the Ray cluster, HOST:PORT or auto; without it one is started on this machine."""


_ENGINE = EngineFlags()


def arena(
    config: str = "",
    /,
    *,
    out: str = "",
    quick: bool = False,
    only: _Names = (),
    set_: _Pairs = (),
    jobs: int = 0,
    engine: Annotated[EngineFlags, Parameter(name="*")] = _ENGINE,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Train and ask every method at every budget with several seeds. The same command goes on where it was stopped.

    Each is tuned alike: the same search of learning rates, data and steps. No reduction, a smaller image, random
    patches, every k-th patch and average pooling always take part. A report is drawn in the end.

    Args:
        config: Name of a shipped arena (default, elastic, quick, training_free), or a YAML file; default if not given.
        out: Folder for results; runs/arena-NAME if not given.
        quick: The shipped arena "quick": few methods, one seed.
        only: A contender to run now, once for each; methods have all baselines beside them. All if not given.
        set_: KEY=VALUE, such as seeds=[0,1,2] or stages.1.steps=400; once for each value.
        jobs: Cells at once; 0 is one for each core, or a single one where there is a GPU; with Ray, one for each GPU.
        engine: What runs the cells.
        json: Print JSON instead of a table.
    """
    import shlex
    import sys
    from pathlib import Path

    from opticnerve.arena.baselines import beside_baselines
    from opticnerve.arena.load import load_arena
    from opticnerve.cli.arena_watch import ArenaWatch, print_outcome
    from opticnerve.cli.quiet import quietly
    from opticnerve.cli.terminal import complain
    from opticnerve.errors import RecipeError, SpecError

    if quick and config:
        raise SpecError(f'--quick is the arena "quick", and "{config}" is another: give one of them')
    if jobs < 0:
        raise SpecError(f"--jobs needs a number of cells from 1, or 0 for one a core, got {jobs}")
    if engine.address and engine.engine == "local":
        raise SpecError("--address is that of a Ray cluster: add --engine ray")
    try:
        settings = load_arena("quick" if quick else config or "default", set_)
    except RecipeError as error:
        for fault in error.faults:
            complain(fault)
        return MISTAKE
    from opticnerve.arena.run import run_arena
    from opticnerve.train.errors import StoppedError

    folder = Path(out or f"runs/arena-{settings.name}")
    command = shlex.join(["opticnerve", *sys.argv[1:]])
    watch = ArenaWatch()
    try:
        with quietly(), _pool(engine, jobs) as pool, watch:
            outcome = run_arena(
                settings, folder, only=beside_baselines(settings, only), pool=pool, command=command, listener=watch
            )
    except (StoppedError, KeyboardInterrupt) as error:
        complain(str(error) or f"interrupted: cells that are done in {folder} are kept; the same command goes on there")
        return INTERRUPTED
    print_outcome(outcome, as_json=json)
    return 0 if json else report(str(folder))


@contextmanager
def _pool(engine: EngineFlags, jobs: int) -> "Generator[Pool]":
    """Open what runs the cells."""
    if engine.engine == "local":
        from opticnerve.arena.local_pool import local_pool

        yield local_pool(jobs)
        return
    from opticnerve.arena.ray_pool import RayPool
    from opticnerve.cluster import connected

    with connected(engine.address or None):
        yield RayPool(jobs=jobs)


def report(folder: str, /) -> int:
    """Draw the report of an arena again, finished or not: a page that opens without a network, tables and charts.

    Args:
        folder: Of the arena.
    """
    from pathlib import Path

    from opticnerve.arena.report import write_report
    from opticnerve.cli.terminal import say

    for path in write_report(Path(folder)):
        say(f"written: {path}")
    return 0
