import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from arena.report_folder import write_folder
from arena.small import small
from arena.test_run import Listener, contents
from opticnerve.arena.card import ELASTIC
from opticnerve.arena.cells import Cell, cell_recipe, groups
from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.load import load_arena
from opticnerve.arena.report import write_report
from opticnerve.arena.report.folder import read_folder
from opticnerve.arena.report.summary import summarise
from opticnerve.arena.report.trade_chart import time_chart, tokens_chart
from opticnerve.arena.run import run_arena
from opticnerve.arena.search import choose, scored_cells
from opticnerve.checkpoints import load_connector
from opticnerve.connectors import with_budget, with_spec
from opticnerve.errors import OpticNerveError
from opticnerve.grid import Grid

AT: dict[int, Any] = {
    4: {"method": "pool", "method_options": {"factor": 2}},
    16: {"method": "pool", "method_options": {"factor": 4}},
}
ELASTIC_POOL: dict[str, Any] = {"name": "elastic_pool", "is_elastic": True, "at": AT}
ONLY = ("elastic_pool",)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ArenaConfig:
    return small(tmp_path_factory.mktemp("config"), contenders=[ELASTIC_POOL], reductions=[4, 16])


@pytest.fixture(scope="module")
def whole(config: ArenaConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An arena with one connector for two budgets, that nobody stopped."""
    out = tmp_path_factory.mktemp("whole")
    listener = Listener()
    outcome = run_arena(config, out, only=ONLY, jobs=1, listener=listener)
    assert listener.num_cells == len(listener.names) == 8  # two rates and two seeds, each at two budgets
    assert len(outcome.results) == 4
    return out


def results(out: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted(out.glob("cells/*/result.json"))]
    return sorted((one for one in found if one["steps"] == 4), key=lambda one: (one["seed"], one["reduction"]))


def test_one_training_run_is_asked_at_each_budget(config: ArenaConfig, whole: Path) -> None:
    logs = sorted(path.parent.name for path in whole.glob("cells/*/log.jsonl"))
    assert len(logs) == 4
    assert all(name.startswith("elastic_pool-4x-") for name in logs)
    found = results(whole)
    assert [(one["seed"], one["reduction"], one["tokens"]) for one in found] == [
        (0, 4, 4), (0, 16, 1), (1, 4, 4), (1, 16, 1)
    ]  # fmt: skip
    assert all(one["is_elastic"] for one in found)
    for one, other in ((found[0], found[1]), (found[2], found[3])):
        assert one["curve"] == other["curve"]
        assert one["rate"] == other["rate"]
        assert one["trainable_params"] == other["trainable_params"]
        assert one["kv_bytes"] == 4 * other["kv_bytes"]
        assert one["prefill_flops"] > other["prefill_flops"]
    assert not list(whole.glob("cells/*/*/model"))
    del config


def test_budgets_take_turns_in_training(config: ArenaConfig, tmp_path: Path) -> None:
    (first, *_) = scored_cells(config, dict.fromkeys(("elastic_pool-4x", "elastic_pool-16x"), 1.0), ONLY)
    recipe = cell_recipe(config, first, tmp_path)
    assert recipe.model.method_options == {"factor": 2}
    assert all(stage.elastic == ({"factor": 2}, {"factor": 4}) for stage in recipe.stages)


def test_what_is_aligned_otherwise_takes_turns_only_afterwards(tmp_path: Path) -> None:
    options = {"query_grid": [2, 2], "head_dim": 32}
    queries: dict[str, Any] = {
        "name": "queries",
        "is_elastic": True,
        "align_options": {"num_used": 0},
        "at": {
            4: {"method": "qwen_vl_resampler", "method_options": options},
            16: {"method": "qwen_vl_resampler", "method_options": {**options, "num_used": 1}},
        },
    }
    config = small(tmp_path, contenders=[queries], reductions=[4, 16], rates=[1.0], seeds=[0])
    (first, _) = scored_cells(config, choose(config, {}, ["queries"]), ["queries"])
    align, tune = cell_recipe(config, first, tmp_path).stages
    assert align.elastic == ()
    assert align.method_options == {"num_used": 0}
    assert len(tune.elastic) == 2
    run_arena(config, tmp_path / "out", only=["queries"], jobs=1)
    assert [one["tokens"] for one in results(tmp_path / "out")] == [4, 1]


def test_one_rate_is_chosen_for_all_budgets(config: ArenaConfig, whole: Path) -> None:
    scores = {
        "elastic_pool-4x": {"0.5": 0.30, "2": 0.20},
        "elastic_pool-16x": {"0.5": 0.10, "2": 0.25},
    }
    assert choose(config, scores, ONLY) == {"elastic_pool-4x": 2.0, "elastic_pool-16x": 2.0}
    searched = json.loads((whole / "rates.json").read_text())
    assert set(searched) == set(scores)
    assert all(list(rates) == ["0.5", "2"] for rates in searched.values())


def test_the_connector_is_kept_with_its_curve(whole: Path) -> None:
    assert sorted(path.name for path in (whole / ELASTIC).iterdir()) == ["elastic_pool-seed0", "elastic_pool-seed1"]
    folder = whole / ELASTIC / "elastic_pool-seed0"
    card = json.loads((folder / "connector.json").read_text())["card"]
    scores = {
        str(one["tokens"]): round(sum(answer["is_right"] for answer in one["answers"]) / len(one["answers"]), 4)
        for one in results(whole)
        if one["seed"] == 0
    }
    assert card["curve"] == scores
    assert card["budgets"]["1"] == {"reduction": 16, "method_options": {"factor": 4}}
    told = (folder / "README.md").read_text()
    assert "| 4 | 4 | " in told
    assert "| 1 | 16 | " in told
    connector = load_connector(folder)
    assert connector.num_tokens(Grid(4, 4)) == 4  # the first of its budgets
    for num_tokens in (1, 4):
        asked = with_spec(connector, with_budget(connector.spec, num_tokens=num_tokens, grid=Grid(4, 4)))
        assert asked(torch.zeros(1, 16, connector.vision_dim), Grid(4, 4)).shape[1] == num_tokens


@pytest.mark.slow
def test_stopped_between_the_budgets_it_goes_on_to_the_same_results(
    config: ArenaConfig, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_arena(config, tmp_path, only=ONLY, jobs=1, listener=Listener(stop_after=5))
    trained = next(path.parent for path in tmp_path.glob("cells/*/log.jsonl") if "share" not in path.parent.name)
    (trained / "result.json").unlink()  # as if killed when the result of the other budget was written
    listener = Listener()
    run_arena(config, tmp_path, only=ONLY, jobs=1, listener=listener)
    assert len(listener.old) == 4
    assert len(listener.names) == 4
    assert contents(tmp_path) == contents(whole)


def test_an_elastic_contender_cannot_get_another_budget_later(config: ArenaConfig, whole: Path, tmp_path: Path) -> None:
    at = {**AT, 1: {"method": "pool", "method_options": {"factor": 1}}}
    other = small(tmp_path, contenders=[{**ELASTIC_POOL, "at": at}], reductions=[4, 16])
    with pytest.raises(OpticNerveError, match="What differs: contender elastic_pool: at.1.method was absent"):
        run_arena(other, whole, only=ONLY, jobs=1)
    del config


def test_it_is_asked_at_all_of_its_budgets_whatever_the_others_do(tmp_path: Path) -> None:
    config = small(tmp_path, contenders=[ELASTIC_POOL], reductions=[4])
    assert [reduction for _, reduction in groups(config, ONLY)] == [4, 16]


def test_an_arena_that_was_begun_before_there_were_budgets_by_turns_goes_on(
    config: ArenaConfig, whole: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    earlier = json.loads((out / "arena.json").read_text())
    earlier["config"]["contenders"] = [one for one in earlier["config"]["contenders"] if one["is_baseline"]]
    for one in earlier["config"]["contenders"]:
        del one["is_elastic"]
    for stage in earlier["config"]["stages"]:
        del stage["elastic"]
    (out / "arena.json").write_text(json.dumps(earlier))
    listener = Listener()
    run_arena(config, out, only=ONLY, jobs=1, listener=listener)
    assert len(listener.old) == 8
    assert json.loads((out / "arena.json").read_text())["config"] == json.loads(config.model_dump_json())


@pytest.mark.parametrize(
    ("at", "given"),
    [
        ({4: AT[4]}, "got pool at 4x"),
        ({4: AT[4], 16: {"method": "tome", "method_options": {"reduction": 16}}}, "got pool at 4x, tome at 16x"),
    ],
)
def test_what_is_not_one_connector_is_refused(tmp_path: Path, at: dict[int, Any], given: str) -> None:
    with pytest.raises(OpticNerveError) as caught:
        small(tmp_path, contenders=[{**ELASTIC_POOL, "at": at}])
    assert f"contenders.0 is_elastic needs one method and view at several reductions, {given}" in str(caught.value)


def test_a_cell_alone_is_trained_and_asked_as_itself(config: ArenaConfig) -> None:
    pool = next(one for one in config.contenders if one.name == "pool")
    cell = Cell(contender=pool, reduction=16, seed=0, rate=1.0, is_search=False)
    assert cell.trained == cell
    assert cell.asked == (cell,)


def test_the_shipped_elastic_arena_stands_beside_connectors_for_one_budget() -> None:
    config = load_arena("elastic")
    elastic = [one for one in config.contenders if one.is_elastic]
    assert {next(iter(one.at.values())).method for one in elastic} == {"pool", "qwen_vl_resampler"}
    for one in elastic:
        others = [each for each in config.contenders if not each.is_elastic]
        for reduction, entrant in one.at.items():
            assert any(reduction in each.at and each.at[reduction].method == entrant.method for each in others)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a pool that was trained for each budget, and of one that was trained for all and is worse at 4x."""
    out = write_folder(tmp_path_factory.mktemp("drawn"), skill={"none": 0.85, "pool": 0.8, "elastic_pool": 0.4})
    for path in out.glob("cells/elastic_pool-*/result.json"):
        result = json.loads(path.read_text())
        path.write_text(json.dumps({**result, "method": "pool", "is_elastic": True}))
    write_report(out)
    return out


def test_the_report_compares_with_connectors_for_one_budget(drawn: Path) -> None:
    summary = summarise(read_folder(drawn))
    assert [(one.cell, one.other) for one in summary.elastic] == [
        ("elastic_pool-4x", "pool-4x"),
        ("elastic_pool-16x", "pool-16x"),
    ]
    shares = {row.group.name: row.score.estimate for row in summary.rows}
    for one in summary.elastic:
        assert one.interval.estimate == pytest.approx(shares[one.cell] - shares[one.other])
        assert one.verdict == "worse"
    assert summary.advice[-1].startswith(
        "elastic_pool, one connector for all of its budgets, against pool, one for each"
    )
    assert "at 64 visual tokens, worse" in summary.advice[-1]
    loss = {row.group.name: row.equal_time_loss for row in summary.rows}
    assert loss["elastic_pool-4x"] is None
    assert loss["pool-4x"] is not None


def test_the_report_draws_both_curves_and_tells_them_apart(drawn: Path) -> None:
    summary = summarise(read_folder(drawn))
    own, beside = coloured_lines(tokens_chart(summary).to_dict())
    assert own == ([6, 4], ["elastic_pool", "elastic_pool"])
    assert beside == ([1, 0], ["pool", "pool"])
    assert coloured_lines(time_chart(summary).to_dict()) == []
    page = (drawn / "report" / "report.html").read_text()
    assert "<h2>One connector for several budgets</h2>" in page
    assert "pool, 256 px, one connector for all budgets" in page
    told = json.loads((drawn / "report" / "results.json").read_text())
    assert [one["group"] for one in told["elastic"]] == ["elastic_pool-4x", "elastic_pool-16x"]
    assert [one["is_elastic"] for one in told["groups"]] == [False, False, False, True, True]


def coloured_lines(chart: dict[str, Any]) -> list[tuple[list[int], list[str]]]:
    """The lines of contenders: their dashes, and whose points they go through."""
    lines = [one for one in chart["layer"] if one["mark"]["type"] == "line" and "color" in one["encoding"]]
    return [
        (one["mark"]["strokeDash"], [value["contender"] for value in chart["datasets"][one["data"]["name"]]])
        for one in lines
    ]


def test_a_report_without_elastic_connectors_says_nothing_of_them(tmp_path: Path) -> None:
    out = write_folder(tmp_path, num_images=4)
    summary = summarise(read_folder(out))
    assert summary.elastic == ()
    assert "Dashed" not in json.dumps(tokens_chart(summary).to_dict())
