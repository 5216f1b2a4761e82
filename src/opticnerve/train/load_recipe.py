"""Read a recipe by name or path, override what the caller wants otherwise, and say what is wrong with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from opticnerve.errors import RecipeError, UnknownNameError
from opticnerve.train.overrides import apply_overrides
from opticnerve.train.recipe import Recipe
from opticnerve.train.recipe_faults import explain, missing_values
from opticnerve.train.recipes import recipe_names, recipe_text


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and check it.

    Args:
        name_or_path: one of `recipe_names()`, or a YAML file.
        overrides: KEY=VALUE, applied in order. Keys are dotted paths: "seed", "stages.0.batch_size",
            "stages.*.micro_batch_size" for every stage, "stages.1.open.llm.layers.16-31". Values are YAML. Setting a
            stage's `steps` removes its `epochs`, and the other way round.

    Raises:
        UnknownNameError: there is no such recipe and no such file.
        RecipeError: the file is not YAML, an override leads nowhere, something is unknown or does not fit, or a value
            that only the caller knows ("??? ...") is not set; one fault for each.
    """
    data = apply_overrides(read_recipe(name_or_path), overrides)
    return check_recipe(data, name=str(name_or_path))


def read_recipe(name_or_path: str | Path) -> dict[str, Any]:
    """Read a recipe's YAML as it stands, values that are still missing included.

    Args:
        name_or_path: one of `recipe_names()`, or a YAML file.

    Raises:
        UnknownNameError: there is no such recipe and no such file.
        RecipeError: the file is not YAML, or holds no mapping.
    """
    name = str(name_or_path)
    if name in recipe_names():
        return cast("dict[str, Any]", yaml.safe_load(recipe_text(name)))
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        raise UnknownNameError("recipe", name, recipe_names())
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise RecipeError([f"recipe {name}: {reason}; shipped recipes: {', '.join(recipe_names())}"]) from error
    except yaml.YAMLError as error:
        raise RecipeError([f"recipe {name}: not YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(data, dict):
        raise RecipeError([f'recipe {name}: needs a mapping such as "name: mine", got {type(data).__name__}'])
    return cast("dict[str, Any]", data)


def check_recipe(data: Mapping[str, Any], *, name: str) -> Recipe:
    """Check a recipe's plain data.

    Args:
        data: as YAML gives it.
        name: of the recipe, for messages.

    Raises:
        RecipeError: something is unknown or does not fit, or else is not set yet; one fault for each.
    """
    try:
        recipe = Recipe.model_validate(dict(data))
    except ValidationError as error:
        raise RecipeError([f"recipe {name}, {fault}" for fault in explain(error)]) from error
    missing = [f"{place} is yours to set: --set {place}=... ({what})" for place, what in missing_values(data)]
    if missing:
        raise RecipeError([f"recipe {name}, {fault}" for fault in missing])
    return recipe
