"""A recipe is read by name or path, changed at dotted paths, and refused with one line for each fault."""

from pathlib import Path
from typing import Any

import pytest

from opticnerve.errors import RecipeError, UnknownNameError
from opticnerve.train.load_recipe import load_recipe, read_recipe
from opticnerve.train.overrides import apply_overrides, read_yaml_value
from opticnerve.train.recipe import LlavaData, Recipe, Stage

MINE = """
name: mine
source: none
model: {encoder: bundled, method: pool, llm: an/llm}
stages:
  - name: align
    open: {connector: 1e-3}
    data: [{kind: llava, path: a.json}]
    epochs: 1
    batch_size: 4
  - name: tune
    open: {connector: 1e-4, llm: 2e-5, llm.layers.16-31: 1e-5}
    data: [{kind: reading, num_samples: 8}]
    steps: 3
    batch_size: 2
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    return path


def faults(mine: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(mine, overrides)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return [fault.removeprefix(f"recipe {mine}, ") for fault in caught.value.faults]


def test_a_file_becomes_a_recipe(mine: Path):
    recipe = load_recipe(mine)
    assert isinstance(recipe, Recipe)
    assert recipe.stages[0].open == {"connector": 1e-3}  # which YAML 1.1 reads as a text
    assert recipe.stages[0].data == (LlavaData(kind="llava", path="a.json"),)
    assert recipe.stages[1].open["llm.layers.16-31"] == 1e-5
    assert (recipe.stages[0].epochs, recipe.stages[0].steps, recipe.stages[1].steps) == (1, None, 3)


def test_a_recipe_round_trips_through_plain_data(mine: Path):
    recipe = load_recipe(mine)
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("model.scales=[1, 2]", ("model", "scales"), (1, 2)),
        ("model.method_options.factor=4", ("model", "method_options"), {"factor": 4}),
        ("stages.1.batch_size=16", ("stages", 1, "batch_size"), 16),
        ("stages.1.open.llm.layers.0-3=3e-6", ("stages", 1, "open", "llm.layers.0-3"), 3e-6),
        ("stages.1.open={connector: 1}", ("stages", 1, "open"), {"connector": 1.0}),
        ("stages.0.data.0.path=b=c.json", ("stages", 0, "data", 0, "path"), "b=c.json"),
        ("report_to=[tensorboard]", ("report_to",), ("tensorboard",)),
    ],
)
def test_a_dotted_path_sets_one_value(mine: Path, override: str, place: tuple[Any, ...], value: object):
    found: Any = load_recipe(mine, [override])
    for part in place:
        found = found[part] if isinstance(found, tuple | dict) else getattr(found, part)
    assert found == value


def test_a_star_sets_a_value_everywhere(mine: Path):
    stages = load_recipe(mine, ["stages.*.micro_batch_size=1", "stages.*.data.*={kind: llava, path: b.json}"]).stages
    assert [stage.micro_batch_size for stage in stages] == [1, 1]
    assert {source.path for stage in stages for source in stage.data if isinstance(source, LlavaData)} == {"b.json"}


def test_later_overrides_win_and_the_file_stays_as_it_is(mine: Path):
    data = read_recipe(mine)
    changed = apply_overrides(data, ["seed=1", "seed=2", "stages.0.lora.rank=4"])
    assert (changed["seed"], changed["stages"][0]["lora"]) == (2, {"rank": 4})
    assert data == read_recipe(mine)


def test_steps_take_the_place_of_epochs_and_the_other_way_round(mine: Path):
    recipe = load_recipe(mine, ["stages.0.steps=5", "stages.1.epochs=0.5"])
    assert [(stage.epochs, stage.steps) for stage in recipe.stages] == [(None, 5), (0.5, None)]


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("1e-3", "1e-3"), ("null", None), ("a b", "a b"), ("*.tar", "*.tar"), ("{0..9}.tar", "{0..9}.tar")],
)
def test_a_value_is_yaml_or_else_a_text(text: str, value: object):
    assert read_yaml_value(text) == value


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("sed=1", 'unknown key "sed" in a recipe. Did you mean seed? Known: '),
        ("stages.0.batchsize=1", 'unknown key "batchsize" in stages.0. Did you mean batch_size or micro_batch_size?'),
        ("stages.0.data.0.pth=1", 'unknown key "pth" in stages.0.data.0. Did you mean path? Known: images, kind, path'),
        ("model.methd=1", 'unknown key "methd" in model. Did you mean method'),
        ("stages.0.batch_size=many", "stages.0.batch_size: Input should be a valid integer, unable to parse string"),
        ("stages.0.batch_size=0", "stages.0.batch_size: Input should be greater than or equal to 1, got 0"),
        ("stages.0.open.connector=x", "stages.0.open.connector: Input should be a valid number"),
        ("stages.0.schedule=wave", "stages.0.schedule: Input should be 'cosine', 'linear' or 'constant', got 'wave'"),
        ("stages.0.data.0.kind=lava", "stages.0.data.0: Input tag 'lava' found using 'kind' does not match any of"),
        ("stages.0.epochs=null", "stages.0 needs epochs or steps, got neither"),
        ("stages.0={name: a, steps: 1, epochs: 1, batch_size: 1, open: {connector: 1}, data: [{kind: reading, "
         "num_samples: 1}]}", "stages.0 needs epochs or steps, got both"),
        ("stages.0.lora={rank: 4, alpha: 8}", 'stages.0 lora needs "llm" in open'),
        ("stages=[]", "stages: Tuple should have at least 1 item after validation"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_with_its_place(mine: Path, override: str, fault: str):
    (line,) = faults(mine, override)
    assert line.startswith(fault)
    assert "\n" not in line
    assert len(line) < 600


def test_every_fault_has_a_line(mine: Path):
    lines = faults(mine, "stages.0.lora={rnk: 3}", "seed=x", "stages.0.data=[]")
    assert sorted(line.split(":")[0].split(" is ")[0] for line in lines) == [
        "seed",
        "stages.0.data",
        "stages.0.lora.alpha",
        "stages.0.lora.rank",
        'unknown key "rnk" in stages.0.lora. Did you mean rank? Known',
    ]


def test_a_value_that_only_the_caller_knows_has_to_be_set(mine: Path):
    mine.write_text(MINE.replace("path: a.json", 'path: "??? the captions"').replace("an/llm", '"???"'))
    assert faults(mine) == [
        "model.llm is yours to set: --set model.llm=... (no description)",
        "stages.0.data.0.path is yours to set: --set stages.0.data.0.path=... (the captions)",
    ]
    recipe = load_recipe(mine, ["model.llm=x", "stages.0.data.0.path=/a/b.json"])
    assert recipe.model.llm == "x"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", '--set needs KEY=VALUE, such as stages.0.batch_size=4; got "seed"'),
        ("=3", '--set needs KEY=VALUE, such as stages.0.batch_size=4; got "=3"'),
        ("stages.2.steps=1", '--set stages.2.steps=1: stages has places 0 to 1, or * for all; got "2"'),
        ("stages.0.data.1.path=a", '--set stages.0.data.1.path=a: stages.0.data has places 0, or * for all; got "1"'),
        ("stages.first.steps=1", 'stages has places 0 to 1, or * for all; got "first"'),
        ("name.x=1", "--set name.x=1: name is 'mine', which holds no x"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(mine: Path, override: str, message: str):
    (line,) = faults(mine, override)
    assert message in line


def test_a_recipe_that_is_not_there_names_the_nearest():
    with pytest.raises(UnknownNameError, match='unknown recipe "mobilevlm2". Did you mean mobilevlm_v2'):
        load_recipe("mobilevlm2")
    with pytest.raises(RecipeError, match="recipe none.yaml: No such file or directory; shipped recipes: blip2, "):
        load_recipe("none.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a: [", "not YAML"), (b"- 1", "needs a mapping such as .*, got list"), (b"\xff\xfe\x00", "not text")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=f"recipe .*bad.yaml: {message}"):
        load_recipe(path)


def test_a_stage_built_in_python_is_checked_too():
    with pytest.raises(ValueError, match="needs epochs or steps, got neither"):
        Stage.model_validate(
            {"name": "a", "open": {}, "data": [{"kind": "reading", "num_samples": 1}], "batch_size": 1}
        )
