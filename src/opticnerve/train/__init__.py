"""Training in stages, from one CPU to many nodes.

recipe = load_recipe("llava_1_5", ["model.llm=my/llm"])
run(recipe, "out")                          # stage by stage; the same call goes on where it was stopped

Names are imported when they are first used: reading a recipe needs no training engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opticnerve.train.load_recipe import load_recipe
    from opticnerve.train.recipe import Recipe, Stage
    from opticnerve.train.run import run

__all__ = ["Recipe", "Stage", "load_recipe", "run"]

_HOMES = {"Recipe": "recipe", "Stage": "recipe", "load_recipe": "load_recipe", "run": "run"}


def __getattr__(name: str) -> object:
    """Import a public name (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"opticnerve.train.{_HOMES[name]}"), name)
