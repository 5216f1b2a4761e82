import json
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arena.small import SETTINGS, small
from opticnerve.arena import results
from opticnerve.arena.cells import Cell
from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.learned import read_log
from opticnerve.arena.local_pool import local_pool
from opticnerve.arena.pool import run_cells
from opticnerve.arena.run import run_arena
from opticnerve.arena.search import scored_cells, search_cells
from opticnerve.arena.work import run_cell
from opticnerve.data.reading import ReadingSource
from opticnerve.errors import OpticNerveError
from opticnerve.train.errors import TrainingError

TIMES = ("train_seconds", "first_token_ms")
ONLY = ("divprune", "pool")


class Listener:
    """Notes the cells; may stop the arena after some of them."""

    def __init__(self, *, stop_after: int = 0) -> None:
        self.num_cells = 0
        self.names: list[str] = []
        self.old: list[str] = []
        self.stop_after = stop_after

    def planned(self, num_cells: int) -> None:
        self.num_cells = num_cells

    def finished(self, name: str, result: Mapping[str, Any], *, was_done: bool) -> None:
        (self.old if was_done else self.names).append(name)
        if self.stop_after and len(self.names) == self.stop_after:
            raise KeyboardInterrupt


def contents(out: Path) -> dict[str, Any]:
    """All JSON files of an arena, without times."""
    found: dict[str, Any] = {}
    for path in sorted(out.glob("**/*.json")):
        data = json.loads(path.read_text())
        found[str(path.relative_to(out))] = {k: v for k, v in data.items() if k not in (*TIMES, "date", "command")}
    return found


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ArenaConfig:
    return small(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def whole(config: ArenaConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An arena that nobody stopped."""
    out = tmp_path_factory.mktemp("whole")
    listener = Listener()
    outcome = run_arena(config, out, only=ONLY, jobs=1, command="a command", listener=listener)
    assert listener.num_cells == len(listener.names) == 8
    assert len(outcome.results) == 4
    return out


def result(out: Path, group: str, seed: int = 0) -> dict[str, Any]:
    (path,) = [one for one in out.glob(f"cells/{group}-seed{seed}-*/result.json") if "share" not in one.parent.name]
    return json.loads(path.read_text())


def test_a_result_says_what_the_cell_is_what_it_costs_and_every_answer(whole: Path) -> None:
    found = result(whole, "divprune-4x")
    assert (found["contender"], found["method"], found["reduction"], found["view"]) == (
        "divprune",
        "divprune",
        4,
        "64 px",
    )
    assert not found["is_baseline"]
    assert result(whole, "pool-4x")["is_baseline"]
    assert found["tokens"] == 4
    assert found["steps"] == 4
    assert [step for step, _ in found["curve"]] == [1, 2]
    for key in ("encoder_flops", "connector_flops", "prefill_flops", "first_token_ms", "kv_bytes", "train_seconds"):
        assert found[key] > 0
    assert found["kv_bytes"] == 4 * 3 * 2 * 128 * 2  # tokens, layers, keys and values, width, bytes
    connector = 192 * 128 + 128 + 128 * 128 + 128
    language_model = 397_888 + 128  # and the image's mark
    assert found["trainable_params"] == pytest.approx(connector + language_model, rel=0.002)


def test_answers_are_those_of_the_whole_test_in_order(whole: Path) -> None:
    task = ReadingSource(split="test", num_samples=3, level=0.0)
    wanted = [(f"reading/test/{i}", one.kind, one.answer) for i in range(3) for one in task.scene(i)[1]]
    for group in ("divprune-4x", "pool-4x"):
        for seed in (0, 1):
            answers = result(whole, group, seed)["answers"]
            assert [(one["image"], one["kind"], one["wanted"]) for one in answers] == wanted
            assert all(one["is_right"] == (one["given"] == one["wanted"]) for one in answers)


def test_rates_are_chosen_on_validation_pages_alone(whole: Path) -> None:
    scores = json.loads((whole / "rates.json").read_text())
    assert set(scores) == {"pool-4x", "divprune-4x"}
    assert all(list(rates) == ["0.5", "2"] for rates in scores.values())
    searched = [json.loads(path.read_text()) for path in whole.glob("cells/*share*/result.json")]
    assert len(searched) == 4
    assert {one["image"].split("/")[1] for each in searched for one in each["answers"]} == {"validation"}
    chosen = json.loads((whole / "arena.json").read_text())["rates"]
    for group, rate in chosen.items():
        assert scores[group][f"{rate:g}"] == max(scores[group].values())
        assert result(whole, group)["rate"] == rate


def test_weights_are_removed_and_recipe_and_log_stay(whole: Path) -> None:
    for folder in (whole / "cells").iterdir():
        assert {path.name for path in folder.iterdir()} == {"recipe.yaml", "log.jsonl", "result.json", ".lock"}


def test_the_arena_says_what_was_run_on_what(whole: Path) -> None:
    facts = json.loads((whole / "arena.json").read_text())
    assert [one["name"] for one in facts["config"]["contenders"]][:5] == [
        "none",
        "resized",
        "random_patches",
        "every_kth",
        "pool",
    ]
    assert facts["command"] == "a command"
    assert {"opticnerve", "torch", "transformers"} <= set(facts["versions"])
    assert facts["hardware"]["cores"] >= 1


def test_examples_are_pages_with_what_selections_keep(whole: Path) -> None:
    for index in range(3):
        pixels = np.asarray(Image.open(whole / "examples" / f"{index}.png"))
        assert np.array_equal(pixels, ReadingSource(split="test", num_samples=3, level=0.0).scene(index)[0].pixels)
        told = json.loads((whole / "examples" / f"{index}.json").read_text())
        assert told["image"] == f"reading/test/{index}"
        assert list(told["kept"]) == ["divprune-4x"]
        kept = told["kept"]["divprune-4x"]
        assert kept["grid"] == [4, 4]
        assert len(set(kept["kept"])) == 4
        assert max(kept["kept"]) < 16


@pytest.mark.slow
def test_an_arena_that_is_stopped_between_cells_goes_on_there(config: ArenaConfig, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_arena(config, tmp_path, only=ONLY, jobs=1, listener=Listener(stop_after=6))
    listener = Listener()
    run_arena(config, tmp_path, only=ONLY, jobs=1, listener=listener)
    assert (len(listener.old), len(listener.names)) == (6, 2)
    assert contents(tmp_path) == contents(whole)


@pytest.mark.slow
def test_an_arena_that_is_killed_while_it_trains_gives_the_same_results(
    config: ArenaConfig, whole: Path, tmp_path: Path
) -> None:
    process = get_context("forkserver").Process(target=_run, args=(config, tmp_path))
    process.start()
    until = monotonic() + 120
    while process.is_alive() and monotonic() < until and len(list(tmp_path.glob("cells/*/*-*"))) < 1:
        sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -9
    listener = Listener()
    run_arena(config, tmp_path, only=["pool"], jobs=2, listener=listener)
    assert len(listener.names) >= 3
    pools = {name: data for name, data in contents(whole).items() if name.startswith("cells/pool")}
    assert {name: data for name, data in contents(tmp_path).items() if name.startswith("cells")} == pools


def _run(config: ArenaConfig, out: Path) -> None:
    run_arena(config, out, only=["pool"], jobs=1)


def test_what_is_done_is_not_done_again(config: ArenaConfig, whole: Path) -> None:
    before = contents(whole)
    listener = Listener()
    outcome = run_arena(config, whole, only=ONLY, jobs=1, listener=listener)
    assert listener.names == []
    assert len(listener.old) == 8
    assert [one["contender"] for one in outcome.results] == ["pool", "divprune"] * 2
    assert contents(whole) == before


def test_a_folder_with_another_arena_is_refused_and_more_of_the_same_is_not(
    config: ArenaConfig, whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "arena.json").write_text((whole / "arena.json").read_text())
    other = small(tmp_path, max_new_tokens=5, seeds=[1, 0])
    with pytest.raises(TrainingError, match="was begun with another arena. What differs: max_new_tokens was 4, now 5"):
        run_arena(other, tmp_path, jobs=1)
    with pytest.raises(TrainingError, match="the first seed, of the search, was 0, now 1"):
        run_arena(small(tmp_path, seeds=[1]), tmp_path, jobs=1)
    contender = {**SETTINGS["contenders"][0], "align_options": {}}
    with pytest.raises(TrainingError, match="contender divprune: align_options.reduction was 1, now absent"):
        run_arena(small(tmp_path, contenders=[contender]), tmp_path, jobs=1)
    more = small(tmp_path, seeds=[0, 1, 2], reductions=[4, 16])
    with pytest.raises(KeyboardInterrupt):  # it starts
        run_arena(more, tmp_path, only=["pool"], jobs=1, listener=Listener(stop_after=1))


def test_a_cell_whose_tokens_are_not_the_budget_is_refused(
    config: ArenaConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = next(one for one in search_cells(config) if one.contender.name == "pool")
    monkeypatch.setattr(results, "planned_tokens", lambda *_: 5)
    with pytest.raises(
        OpticNerveError, match="validation/0, 512 x 512 px, has 4 visual tokens, and the budget of pool-4x"
    ):
        run_cell(config, cell, tmp_path)


def test_what_goes_wrong_in_another_process_is_told_here(config: ArenaConfig, tmp_path: Path) -> None:
    stage = config.stages[0].model_copy(update={"template": "plan"})
    broken = config.model_copy(update={"stages": (stage, config.stages[1])})
    with pytest.raises(TrainingError, match='cell none-1x-seed0-rate0.5-share0.5: unknown chat template "plan"'):
        run_cells(broken, search_cells(broken)[:1], tmp_path, pool=local_pool(2), done=lambda *_: None)


def test_cells_of_a_new_view_wait_for_the_first_of_them(config: ArenaConfig) -> None:
    from opticnerve.arena.pool import startable

    cells = [one for one in scored_cells(config, _ones(config)) if one.seed == 0]
    names = [cell.contender.name for cell in cells]
    assert names == ["none", "resized", "random_patches", "every_kth", "pool", "divprune"]
    assert [one.contender.name for one in startable(config, cells, [], set())] == ["none", "resized"]
    assert [one.contender.name for one in startable(config, cells[1:], cells[:1], set())] == ["resized"]
    assert startable(config, cells[1:], cells[:1], {"64 px"}) == cells[1:]


def _ones(config: ArenaConfig) -> dict[str, float]:
    return {f"{one.name}-{by}x": 1.0 for one in config.contenders for by in one.at}


def test_a_log_is_read_as_its_last_lines_have_it(config: ArenaConfig, whole: Path, tmp_path: Path) -> None:
    from opticnerve.arena.cells import cell_recipe

    cell: Cell = scored_cells(config, _ones(config))[0]
    path = next(whole.glob("cells/pool-4x-seed0-rate*[0-9]/log.jsonl"))
    lines = path.read_text().splitlines()
    step = next(json.loads(line) for line in lines if '"event": "step"' in line and '"tune"' in line)
    again = tmp_path / "log.jsonl"
    again.write_text("\n".join([*lines, json.dumps({**step, "loss": 7.0, "images_per_s": 0.5})]))
    learned = read_log(again, cell_recipe(config, cell, tmp_path))
    assert learned.curve[0] == (1, 7.0)
    assert learned.steps == 4
    assert learned.train_seconds > 4 / 0.5
