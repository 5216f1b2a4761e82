"""The pages about recipes and about asking a model name every key and every flag."""

import inspect

import pytest
from pydantic_core import PydanticUndefined

from docs import pages
from opticnerve.cli.ask import ask
from opticnerve.cli.eval import evaluate_model
from opticnerve.cli.train import train
from opticnerve.train.recipe import Answers, ModelSettings, Plain, Recipe, Stage
from opticnerve.train.recipes import recipe_names

RECIPES = (pages.ROOT / "docs" / "recipes.md").read_text()
ASKING = (pages.ROOT / "docs" / "ask.md").read_text()


def rows_after(text: str, title: str) -> dict[str, str]:
    """Options and defaults of the first table after a line."""
    table = text.split(f"\n{title}\n\n", maxsplit=1)[1].split("\n\n")[0]
    return {row[0]: row[1] for row in pages.option_rows(table)}


def defaults(settings: type[Plain]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, field in settings.model_fields.items():
        value = field.get_default(call_default_factory=True)
        is_open = value in (PydanticUndefined, None, "")
        written = "{kind: answers}" if value == Answers() else pages.written(value)
        found[name] = "" if is_open else written
    return found


@pytest.mark.parametrize(
    ("title", "settings"), [("The top:", Recipe), ("`model`:", ModelSettings), ("A stage:", Stage)]
)
def test_the_recipe_page_names_every_key_with_its_default(title: str, settings: type[Plain]) -> None:
    assert rows_after(RECIPES, title) == defaults(settings)


def test_the_recipe_page_names_every_shipped_recipe() -> None:
    for name in recipe_names():
        assert f"| `{name}` |" in RECIPES


@pytest.mark.parametrize(("command", "text"), [(train, RECIPES), (ask, ASKING), (evaluate_model, ASKING)])
def test_a_page_names_every_flag_of_its_command(command: object, text: str) -> None:
    for parameter in inspect.signature(command).parameters.values():  # pyright: ignore[reportArgumentType]
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            name = parameter.name.strip("_").replace("_", "-")
            is_shown = parameter.default not in (False, "", ())
            cell = f" `{parameter.default}` |" if is_shown else ""
            assert f"| `--{name}` |{cell}" in text
