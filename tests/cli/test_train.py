"""`opticnerve train` and `opticnerve recipes` from the flags to the model, the tables and the exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Run
from opticnerve.train.errors import StoppedError
from opticnerve.train.recipes import recipe_names

RECIPE = """
# mine
name: mine
source: none
model: {encoder: bundled, method: pool, method_options: {factor: 4}, llm: small}
log_every: 1
stages:
  - name: align
    open: {connector: 1e-3}
    data: [{kind: reading, num_samples: 4}]
    steps: 2
    batch_size: 2
    micro_batch_size: 1
    precision: fp32
  - name: tune
    open: {connector: 1e-4, llm: 2e-5, llm.layers.1-2: 1e-5}
    data: [{kind: reading, num_samples: 4}]
    steps: 1
    batch_size: 1
    micro_batch_size: 1
    precision: fp32
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_is_trained_and_the_same_command_finds_it_done(opticnerve: Run, recipe: Path, tmp_path: Path):
    line = ("train", recipe, "--out", tmp_path / "run")
    code, out, err = opticnerve(*line)
    assert code == 0
    words = " ".join(out.split())
    assert "mine, stage 1 of 2, align: 2 steps, batches of 2 of 4 samples, in float32" in words
    assert "mine, stage 2 of 2, tune: 1 step, batches of 1" in words
    rows = [row for row in (text.split() for text in out.splitlines()) if row]
    assert ["encoder", "2.77", "M", "frozen", "float32"] in rows
    assert [row[0] for row in rows if row[0] in ("connector", "llm", "llm.layers.1-2")] == [
        *("connector", "llm"),
        *("connector", "llm", "llm.layers.1-2"),
    ]
    assert f"The trained model is in {tmp_path}/run/model." in words
    steps = [text for text in err.splitlines() if text.startswith("align ")]
    assert [text.split()[1] for text in steps] == ["1/2", "2/2"]
    for word in ("loss", "rate", "images/s", "tokens/s", "left"):
        assert all(word in text for text in steps)
    code, out, err = opticnerve(*line)
    assert code == 0
    assert 'stage "tune" is done' in err
    assert "align 1/2" not in err
    code, _, err = opticnerve(*line, "--fresh")
    assert "align 1/2" in err


def test_json_is_one_document(opticnerve: Run, recipe: Path, tmp_path: Path):
    line = ("train", recipe, "--out", tmp_path / "run", "--json", "--set", "stages.*.steps=1", "--set", "seed=3")
    code, out, _ = opticnerve(*line)
    assert code == 0
    document = json.loads(out)
    assert (document["recipe"], document["model"]) == ("mine", str(tmp_path / "run" / "model"))
    first, second = document["stages"]
    assert (first["started"]["stage"], first["started"]["num_steps"], second["ended"]["step"]) == ("align", 1, 1)
    assert first["started"]["parts"][0]["name"] == "encoder"
    assert "seed: 3" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_the_folder_has_the_recipes_name_where_none_is_named(
    opticnerve: Run, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    where: list[Path] = []

    def stop(recipe: Any, out: Path, **_: Any) -> Path:
        where.append(out)
        raise StoppedError("stopped by SIGINT after step 1 of 2: run the same command again to go on.")

    monkeypatch.setattr("opticnerve.train.run.run", stop)
    code, out, err = opticnerve("train", recipe)
    assert where == [Path("runs/mine")]
    assert (code, out) == (130, "")
    assert err == "opticnerve: stopped by SIGINT after step 1 of 2: run the same command again to go on.\n"


def test_a_process_that_is_not_the_first_says_nothing(
    opticnerve: Run, recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("opticnerve.train.run.run", lambda *_, **__: tmp_path / "model")
    assert opticnerve("train", recipe, "--json") == (0, "", "")
    assert opticnerve("train", recipe, "--set", "sed=1") == (2, "", "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["mobilevlm2"], 'unknown recipe "mobilevlm2". Did you mean mobilevlm_v2'),
        (["none.yaml"], "recipe none.yaml: No such file or directory"),
        (["{mine}", "--set", "stages.0.stepz=1"], 'unknown key "stepz" in stages.0. Did you mean steps?'),
        (["{mine}", "--set", "stages.0.steps=x"], "stages.0.steps: Input should be a valid integer"),
        (["{mine}", "--set", "stages.0.steps"], "--set needs KEY=VALUE"),
        (["{mine}", "--set", "stages.*.open.lm=1"], "lm"),
        (["{mine}", "--set", "model.method=pol"], 'unknown method "pol". Did you mean pool'),
        (["{mine}", "--set", "model.llm=/no/such"], "/no/such"),
        (["nanovlm"], "stages.0.data.0.path is yours to set: --set stages.0.data.0.path=..."),
        ([], "RECIPE"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(
    opticnerve: Run, recipe: Path, tmp_path: Path, line: list[str], message: str
):
    code, out, err = opticnerve("train", *(word.format(mine=recipe) for word in line), "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err.startswith("opticnerve: ")
    assert message in err
    assert err.count("\n") == 1


def test_every_fault_of_a_recipe_is_a_line(opticnerve: Run):
    code, _, err = opticnerve("train", "mobilevlm_v2")
    assert code == 2
    assert err.count("\n") == 4
    assert all(line.startswith("opticnerve: recipe mobilevlm_v2, stages.") for line in err.splitlines())


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(recipe: Path, tmp_path: Path):
    command = [sys.executable, "-m", "opticnerve", "train", str(recipe), "--out", str(tmp_path / "run")]
    command += ["--set", "stages.0.steps=400"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not log.exists() or '"event": "step"' not in log.read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    last = errors.splitlines()[-1]
    assert last.startswith("opticnerve: stopped by SIGINT after step ")
    assert "Run the same command again to go on" in last
    (saved,) = (tmp_path / "run").glob("*-align/checkpoint-*")
    done = int(saved.name.removeprefix("checkpoint-"))
    command[-1] = f"stages.0.steps={400}"
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while f'"step": {done + 2}' not in log.read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    steps = [entry["step"] for entry in map(json.loads, log.read_text().splitlines()) if entry["event"] == "step"]
    assert steps == sorted(set(steps))


def test_recipes_are_listed(opticnerve: Run):
    code, out, _ = opticnerve("recipes")
    assert code == 0
    assert all(name in out for name in recipe_names())
    code, out, _ = opticnerve("recipes", "--json")
    rows = {row["recipe"]: row for row in json.loads(out)["recipes"]}
    assert list(rows) == list(recipe_names())
    assert rows["mobilevlm_v2"]["method"] == "ldpv2"
    assert rows["mobilevlm_v2"]["stages"][0]["open"] == {"connector": 1e-3, "llm": 2e-5}
    assert "stages.1.data.0.images" in rows["mobilevlm_v2"]["to_set"]


def test_a_recipe_that_is_printed_can_be_trained_from_a_file(opticnerve: Run, tmp_path: Path):
    _, out, _ = opticnerve("recipes", "nanovlm")
    path = tmp_path / "own.yaml"
    path.write_text(out)
    code, _, err = opticnerve("train", path)
    assert code == 2
    assert f"recipe {path}, stages.0.data.0.path is yours to set" in err
    _, out, _ = opticnerve("recipes", "nanovlm", "--json")
    assert json.loads(out)["model"]["llm"] == "HuggingFaceTB/SmolLM2-360M-Instruct"
    code, _, err = opticnerve("recipes", "nanovlmm")
    assert code == 2
    assert "Did you mean nanovlm" in err
