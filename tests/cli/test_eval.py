"""`opticnerve eval` from the flags to the table, the JSON and the exit code."""

import json
from pathlib import Path

import pytest
from PIL import Image

from cli.conftest import Run
from family.tiny import save_llm
from opticnerve.vlm import assemble


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    parts = assemble(llm=save_llm(folder / "llm"), method="pool", method_options={"factor": 4}, template="plain")
    for part in parts:
        part.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three LLaVA samples."""
    entries: list[dict[str, object]] = []
    for index in range(3):
        Image.new("RGB", (64, 64), (80 * index, 0, 0)).save(tmp_path / f"{index}.png")
        said = [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "red"}]
        entries.append({"id": str(index), "image": f"{index}.png", "conversations": said})
    (tmp_path / "data.json").write_text(json.dumps(entries))
    return tmp_path / "data.json"


def test_the_reading_task_is_asked_where_no_data_are_named(opticnerve: Run, model: Path):
    code, out, err = opticnerve("eval", model, "--samples", 4, "--max-new-tokens", 2)
    assert (code, err) == (0, "")
    for word in ("reading task, test split, level 1", "asked", "right", "exact match", "interval", "all"):
        assert word in " ".join(out.split())
    assert "4 images; " in out
    assert "visual tokens; " in out
    assert "ms to the first token (median of 4, " in out


def test_json_holds_every_answer(opticnerve: Run, model: Path):
    line = ("eval", model, "--samples", 3, "--max-new-tokens", 2, "--json", "--level", "0", "--split", "validation")
    code, out, _ = opticnerve(*line)
    assert code == 0
    document = json.loads(out)
    assert document["data"] == "reading task, validation split, level 0"
    assert (document["model"], document["num_images"]) == (str(model), 3)
    assert sum(one["num_questions"] for one in document["scores"] if one["kind"] != "all") == len(document["answers"])
    assert {"image", "kind", "question", "wanted", "given", "is_right"} == set(document["answers"][0])
    assert all(0 <= one["low"] <= one["share"] <= one["high"] <= 1 for one in document["scores"])


def test_llava_data_are_asked(opticnerve: Run, model: Path, data: Path):
    line = ("eval", model, "--data", data, "--images", data.parent, "--json", "--max-new-tokens", 1)
    code, out, _ = opticnerve(*line)
    assert code == 0
    document = json.loads(out)
    assert document["data"] == [str(data)]
    assert [one["wanted"] for one in document["answers"]] == ["red"] * 3
    _, out, _ = opticnerve(*line, "--samples", 2)
    assert json.loads(out)["num_images"] == 2
    _, out, _ = opticnerve(*line, "--data", data)
    assert json.loads(out)["num_images"] == 6


def test_a_sample_that_is_bad_is_named_and_left_out(opticnerve: Run, model: Path, data: Path):
    (data.parent / "1.png").unlink()
    line = ("eval", model, "--data", data, "--images", data.parent, "--json", "--max-new-tokens", 1)
    code, out, err = opticnerve(*line)
    assert code == 1
    assert json.loads(out)["num_images"] == 2
    assert err.startswith("opticnerve: skipped ")
    assert "1.png" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nothing"], 'there is no model "nothing": name a folder with a config.json'),
        (["{model}", "--samples", "0"], "--samples and --max-new-tokens need at least 1, got 0 and 32"),
        (["{model}", "--data", "none.json"], "none.json"),
        (["{model}", "--data", "/no/such/folder"], "/no/such/folder"),
        (["{model}", "--level", "2"], "a level from 0 to 1"),
        (["{model}", "--split", "tset"], "--split"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(opticnerve: Run, model: Path, flags: list[str], message: str):
    code, out, err = opticnerve("eval", *(flag.format(model=model) for flag in flags))
    assert (code, out) == (2, "")
    assert err.startswith("opticnerve: ")
    assert message in err
    assert err.count("\n") == 1
