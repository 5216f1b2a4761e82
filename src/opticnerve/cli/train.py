"""`opticnerve train RECIPE`: train a vision-language model, stage by stage."""

from typing import Annotated

from cyclopts import Parameter

from opticnerve.cli.exit_codes import INTERRUPTED, MISTAKE

_Pairs = Annotated[tuple[str, ...], Parameter(name="--set", negative=())]


def train(
    recipe: str,
    /,
    *,
    out: str = "",
    set_: _Pairs = (),
    fresh: bool = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Train what a recipe says. The same command goes on where an earlier run of it stopped.

    On several GPUs: torchrun --nproc-per-node 8 -m opticnerve train RECIPE

    Args:
        recipe: Name of a shipped recipe, or a YAML file; `opticnerve recipes` lists them.
        out: Folder for checkpoints, logs and the trained model; runs/RECIPE if not given.
        set_: KEY=VALUE, such as stages.0.batch_size=4; once for each value. A * stands for every stage.
        fresh: Start anew, whatever an earlier run left in the folder.
        json: Print JSON instead of tables.
    """
    from pathlib import Path

    from opticnerve.cli.terminal import complain, is_first_process
    from opticnerve.cli.training import Watch, print_end
    from opticnerve.errors import RecipeError
    from opticnerve.train.load_recipe import load_recipe

    try:
        settings = load_recipe(recipe, set_)
    except RecipeError as error:
        if is_first_process():
            for fault in error.faults:
                complain(fault)
        return MISTAKE
    from opticnerve.cli.quiet import quietly
    from opticnerve.train.errors import StoppedError
    from opticnerve.train.run import run

    folder = Path(out or f"runs/{settings.name}")
    watch = Watch(settings, is_quiet=json)
    try:
        with quietly(), watch:
            model = run(settings, folder, resume=not fresh, progress=watch)
    except StoppedError as error:
        if is_first_process():
            complain(str(error))
        return INTERRUPTED
    if is_first_process():
        print_end(settings, watch, model=model, folder=folder, as_json=json)
    return 0
