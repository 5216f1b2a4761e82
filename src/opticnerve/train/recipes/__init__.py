"""The shipped recipes: one YAML file each, with the source of its numbers at the top."""

from importlib.resources import files


def recipe_names() -> tuple[str, ...]:
    """List the shipped recipes, in alphabetical order."""
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files(__name__).iterdir() if _is_recipe(file.name)))


def recipe_text(name: str) -> str:
    """Read a shipped recipe's file.

    Args:
        name: one of `recipe_names`.

    Returns:
        The YAML, comments included.
    """
    return (files(__name__) / f"{name}.yaml").read_text(encoding="utf-8")


def _is_recipe(file: str) -> bool:
    return file.endswith(".yaml") and not file.startswith(".")
