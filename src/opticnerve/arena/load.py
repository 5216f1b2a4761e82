"""From a YAML file, or the name of a shipped one, to a checked arena."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from opticnerve.arena.baselines import with_baselines
from opticnerve.arena.config import ArenaConfig
from opticnerve.errors import RecipeError, UnknownNameError
from opticnerve.train.overrides import apply_overrides
from opticnerve.train.recipe_faults import explain

_CONFIGS = files("opticnerve.arena") / "configs"


def arena_names() -> tuple[str, ...]:
    """List the shipped arenas."""
    names = (file.name for file in _CONFIGS.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def load_arena(name_or_path: str | Path, overrides: Sequence[str] = ()) -> ArenaConfig:
    """Read an arena, check it, and add the baselines.

    Args:
        name_or_path: one of `arena_names()`, or a YAML file.
        overrides: KEY=VALUE, as for `load_recipe`: "seeds=[0,1,2]", "stages.1.steps=400".

    Raises:
        UnknownNameError: there is no such arena and no such file.
        RecipeError: the file is not YAML, an override leads nowhere, or something is unknown or does not fit; one fault
            for each.
        SpecError: a baseline cannot be made.
    """
    data = apply_overrides(_read(str(name_or_path)), overrides)
    try:
        config = ArenaConfig.model_validate(data)
    except ValidationError as error:
        faults = explain(error, ArenaConfig, called="an arena config")
        raise RecipeError([f"arena {name_or_path}, {fault}" for fault in faults]) from error
    return with_baselines(config)


def _read(name: str) -> dict[str, Any]:
    if name in arena_names():
        return cast("dict[str, Any]", yaml.safe_load((_CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")))
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        raise UnknownNameError("arena", name, arena_names())
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise RecipeError([f"arena {name}: {reason}; shipped arenas: {', '.join(arena_names())}"]) from error
    except yaml.YAMLError as error:
        raise RecipeError([f"arena {name}: not YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(data, dict):
        raise RecipeError([f'arena {name}: needs a mapping such as "name: mine", got {type(data).__name__}'])
    return cast("dict[str, Any]", data)
