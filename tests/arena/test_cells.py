from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arena.small import SETTINGS, small
from opticnerve.arena.budget import check_budgets
from opticnerve.arena.cells import Cell, cell_recipe, groups
from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.load import load_arena
from opticnerve.arena.questions import first_page, pages
from opticnerve.arena.search import choose, scored_cells, search_cells
from opticnerve.data.reading import ReadingSource
from opticnerve.errors import OpticNerveError, SpecError
from opticnerve.train.recipe import ReadingData


def cells_of(config: ArenaConfig, name: str, *, is_search: bool = False) -> list[Cell]:
    rates = dict.fromkeys([f"{one.name}-{by}x" for one, by in groups(config)], 2.0)
    cells = search_cells(config) if is_search else scored_cells(config, rates)
    return [cell for cell in cells if cell.contender.name == name]


@pytest.mark.parametrize("name", ["default", "quick"])
def test_every_contender_of_a_shipped_arena_keeps_to_the_budget(name: str) -> None:
    tokens = check_budgets(load_arena(name), height_px=512, width_px=512)
    assert tokens == {group: 256 // int(group.rpartition("-")[2][:-1]) for group in tokens}


def change(**options: Any) -> list[dict[str, Any]]:
    return [{"name": "mine", "at": {4: options}}]


@pytest.mark.parametrize(
    ("contenders", "message"),
    [
        (
            change(method="pool", method_options={"factor": 4}),
            'contender "mine" at 4x gives 1 visual tokens for an image of 512 x 512 px, and the budget is 4: change',
        ),
        (change(method="pol"), 'contender "mine" at 4x: unknown method "pol". Did you mean pool?'),
        (change(method="pool", method_options={"factor": 3}), 'contender "mine" at 4x: cannot'),
    ],
)
def test_who_does_not_keep_to_the_budget_is_named_before_anything_is_trained(
    tmp_path: Path, contenders: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(OpticNerveError) as caught:
        check_budgets(small(tmp_path, contenders=contenders), height_px=512, width_px=512)
    assert message in str(caught.value)


def test_all_cells_are_trained_alike_but_for_method_view_and_rate(tmp_path: Path) -> None:
    config = small(tmp_path)
    recipes = [cell_recipe(config, cells_of(config, one.name)[0], tmp_path) for one in config.contenders]
    plain = [
        [stage.model_dump(exclude={"method_options"}) for stage in recipe.stages]  # of selections, see below
        for recipe in recipes
    ]
    assert all(stages == plain[0] for stages in plain)
    assert {recipe.features for recipe in recipes} == {str(tmp_path / "features")}


def test_selections_are_aligned_without_selecting_and_tuned_with_it(tmp_path: Path) -> None:
    config = small(tmp_path)
    for name in ("random_patches", "every_kth", "divprune"):
        recipe = cell_recipe(config, cells_of(config, name)[0], tmp_path)
        assert [stage.method_options for stage in recipe.stages] == [{"reduction": 1}, {}]
    recipe = cell_recipe(config, cells_of(config, "pool")[0], tmp_path)
    assert [stage.method_options for stage in recipe.stages] == [{}, {}]


def test_a_rate_multiplies_every_learning_rate(tmp_path: Path) -> None:
    config = small(tmp_path)
    recipe = cell_recipe(config, cells_of(config, "pool")[0], tmp_path)
    assert [stage.open for stage in recipe.stages] == [
        {"connector": 2e-2, "objective": 2e-2},
        {"connector": 2e-2, "llm": 2e-2},
    ]


def test_a_search_takes_its_share_of_the_steps_on_the_first_seed(tmp_path: Path) -> None:
    config = small(tmp_path)
    cells = cells_of(config, "pool", is_search=True)
    assert [cell.name(config) for cell in cells] == ["pool-4x-seed0-rate0.5-share0.5", "pool-4x-seed0-rate2-share0.5"]
    assert [stage.steps for stage in cell_recipe(config, cells[0], tmp_path).stages] == [1, 1]
    assert [cell.name(config) for cell in cells_of(config, "pool")] == ["pool-4x-seed0-rate2", "pool-4x-seed1-rate2"]


def test_a_share_of_epochs_is_a_share_of_epochs(tmp_path: Path) -> None:
    stages = [{**{k: v for k, v in one.items() if k != "steps"}, "epochs": 2} for one in SETTINGS["stages"]]
    config = small(tmp_path, stages=stages)
    recipe = cell_recipe(config, cells_of(config, "pool", is_search=True)[0], tmp_path)
    assert [(stage.epochs, stage.steps) for stage in recipe.stages] == [(1, None), (1, None)]


def test_the_best_rate_is_chosen_and_of_equals_the_smallest(tmp_path: Path) -> None:
    config = small(tmp_path)
    scores = {"pool-4x": {"0.5": 0.1, "2": 0.3}, "divprune-4x": {"0.5": 0.2, "2": 0.2}}
    chosen = choose(config, scores, ["pool", "divprune"])
    assert chosen == {"pool-4x": 2.0, "divprune-4x": 0.5}


def test_one_rate_needs_no_search(tmp_path: Path) -> None:
    assert search_cells(small(tmp_path, rates=[1.0])) == []


def test_only_some_contenders_may_be_asked_for(tmp_path: Path) -> None:
    config = small(tmp_path)
    assert {one.name for one, _ in groups(config, ["pool", "none"])} == {"pool", "none"}
    with pytest.raises(OpticNerveError, match='unknown contender "pol". Did you mean pool?'):
        list(groups(config, ["pol"]))


def test_pages_know_how_high_the_glyphs_are_that_they_ask_for() -> None:
    settings = ReadingData(kind="reading", split="test", num_samples=12)
    task = ReadingSource(split="test", num_samples=12)
    asked = {page.asked.name: page for page in pages(settings)}
    num_read = 0
    for index in range(12):
        scene, questions = task.scene(index)
        for question, height in zip(questions, asked[f"reading/test/{index}"].heights_px, strict=True):
            if question.kind in ("color", "marker", "place"):
                top, bottom = scene.items[question.item].box[1::2]
                assert height == pytest.approx(bottom - top, abs=0.05)
                assert 0.3 * question.font_px < height < 1.3 * question.font_px
                num_read += 1
            else:
                assert height is None
    assert num_read > 5


def test_other_data_have_no_glyph_heights(llava: Callable[[int], Path]) -> None:
    config = llava(1)
    page = first_page(config)
    assert page.heights_px == (None,)
    assert page.size == (20, 30)
    with pytest.raises(OpticNerveError, match="has 2 images; an arena compares visual tokens per image"):
        _ = first_page(llava(2)).size
    with pytest.raises(OpticNerveError, match="holds no question with an answer"):
        first_page(llava(0))


def test_spec_errors_name_the_contender(tmp_path: Path) -> None:
    config = small(tmp_path, contenders=change(method="tome", method_options={"reduction": 0}))
    with pytest.raises(SpecError, match='contender "mine" at 4x'):
        check_budgets(config, height_px=512, width_px=512)
