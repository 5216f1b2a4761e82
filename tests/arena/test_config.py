from pathlib import Path
from typing import Any

import pytest

from arena.small import SETTINGS, small
from opticnerve.arena.baselines import BASELINES, beside_baselines
from opticnerve.arena.cells import groups
from opticnerve.arena.config import LANGUAGE_MODEL
from opticnerve.arena.load import arena_names, load_arena
from opticnerve.errors import OpticNerveError

FIRST = SETTINGS["views"][0]
CONTENDER = SETTINGS["contenders"][0]


@pytest.mark.parametrize("name", ["default", "elastic", "quick", "training_free"])
def test_every_shipped_arena_has_all_baselines_at_every_reduction(name: str) -> None:
    config = load_arena(name)
    there = list(groups(config))
    assert name in arena_names()
    for baseline in BASELINES:
        (one,) = [contender for contender in config.contenders if contender.name == baseline]
        assert one.is_baseline
        assert list(one.at) == ([1] if baseline == "none" else list(config.reductions))
    assert len(there) == sum(len(one.at) for one in config.contenders)


def test_the_default_arena_has_the_six_methods_of_the_survey_at_two_reductions_and_two_seeds() -> None:
    config = load_arena("default")
    methods = {entrant.method for one in config.contenders for entrant in one.at.values()}
    assert {"concat_mlp", "pixel_shuffle", "ldpv2", "qwen_vl_resampler", "pool"} <= methods
    assert any(view.scales == (1, 2) for view in config.views)
    assert config.reductions == (4, 16)
    assert len(config.seeds) == 2
    assert {"test", "validation"} == {config.test.split, config.validation.split}
    assert all(data.split == "train" for stage in config.stages for data in stage.data)


def test_the_quick_arena_has_one_seed_and_one_reduction() -> None:
    config = load_arena("quick")
    assert (len(config.seeds), config.reductions) == (1, (4,))


def test_the_smaller_image_has_as_many_features_as_the_budget(tmp_path: Path) -> None:
    config = small(tmp_path, reductions=[4, 16])
    (resized,) = [one for one in config.contenders if one.name == "resized"]
    sizes = {by: config.view(entrant).tiling_options for by, entrant in resized.at.items()}
    assert sizes == {4: {"height_px": 32, "width_px": 32}, 16: {"height_px": 16, "width_px": 16}}
    assert {entrant.method for entrant in resized.at.values()} == {"mlp"}


def test_the_bundled_language_model_is_small_and_has_a_card() -> None:
    files = list(LANGUAGE_MODEL.iterdir())
    assert {"card.json", "config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in files}
    assert sum(file.stat().st_size for file in files) < 1_000_000


def test_methods_that_run_alone_have_the_baselines_beside_them() -> None:
    config = load_arena("quick")
    assert beside_baselines(config, ["tome", "ldpv2"]) == (*BASELINES, "tome", "ldpv2")
    assert beside_baselines(config, ["tome", "pool"]) == (*BASELINES, "tome")
    assert beside_baselines(config, ["pool"]) == ("pool",)
    assert beside_baselines(config, []) == ()


def test_overrides_reach_into_stages() -> None:
    config = load_arena("quick", ["stages.1.steps=7", "seeds=[3]"])
    assert (config.stages[1].steps, config.seeds) == (7, (3,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": [FIRST, FIRST]}, "views need to differ; twice: 64 px"),
        ({"contenders": [CONTENDER, CONTENDER]}, "contenders need to differ; twice: divprune"),
        ({"seeds": [0, 0]}, "seeds need to differ; twice: 0"),
        ({"reductions": [8]}, "reductions are squares, such as 4, 9 or 16, because both sides shrink; got 8"),
        ({"rates": [1.0, 0.0]}, "rates are factors above 0, got 0"),
        ({"test": SETTINGS["validation"]}, "validation and test are the same"),
        ({"views": [{**FIRST, "scales": [1, 2]}]}, 'the first view sets the budgets, so "64 px" must be plain'),
        ({"views": [{"name": "a"}]}, 'the first view sets the budgets, so "a" must be plain, with height_px'),
        (
            {"contenders": [{"name": "a", "at": {4: {"method": "pool", "view": "wide"}}}]},
            'contender "a" looks through "wide"; views: 64 px',
        ),
        ({"contenders": [{"name": "a", "at": {}}]}, "contenders.0.at: Dictionary should have at least 1 item"),
        ({"contender": []}, 'unknown key "contender" in an arena config. Did you mean contenders or encoder? Known: '),
        ({"contenders": [{**CONTENDER, "name": "pool"}]}, '"pool" is or claims to be a baseline; none, resized,'),
        ({"contenders": [{**CONTENDER, "is_baseline": True}]}, '"divprune" is or claims to be a baseline'),
        ({"reductions": [9]}, 'view "64 px" cannot be shrunk 3 times for the baseline "resized" at 9x: 64 px is not a'),
    ],
)
def test_what_an_arena_cannot_be_is_explained(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OpticNerveError) as caught:
        small(tmp_path, **changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", 'needs a mapping such as "name: mine", got list'),
        ("a: [", "not YAML"),
        ("name: x\n", "views is needed, and is not there"),
    ],
)
def test_what_a_file_must_hold_is_explained(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(OpticNerveError) as caught:
        load_arena(tmp_path / "a.yaml")
    assert message in str(caught.value)


def test_unknown_arenas_and_missing_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(OpticNerveError, match='unknown arena "defalt". Did you mean default?'):
        load_arena("defalt")
    with pytest.raises(OpticNerveError, match="No such file or directory; shipped arenas: default, elastic, quick"):
        load_arena(tmp_path / "none.yaml")
