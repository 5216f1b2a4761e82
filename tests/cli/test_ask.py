"""`opticnerve ask` from the flags to the answer, the table, the JSON and the exit code."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cli.conftest import Run
from family.tiny import save_llm
from opticnerve.family import export
from opticnerve.vlm import assemble

QUESTION = "what color is the circle?"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family of two, as it would be bundled, and what one of them was made of."""
    folder = tmp_path_factory.mktemp("family")
    llm = save_llm(folder / "llm")
    for name, method, options in (("shuffled", "pixel_shuffle", {"factor": 4}), ("pooled", "pool", {"factor": 2})):
        parts = assemble(llm=llm, method=method, method_options=options, template="plain")
        for part in parts:
            part.save_pretrained(folder / "trained" / name)
        export(folder / "trained" / name, name, card={}, folder=folder / "models")
    return folder


@pytest.fixture(autouse=True)
def small_family(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line finds that family."""
    from opticnerve import family
    from opticnerve.family import load, members, open_model

    home = models / "models"
    monkeypatch.setattr(family, "members", lambda: members(home))
    monkeypatch.setattr(family, "load", lambda name: load(name, home))
    monkeypatch.setattr(family, "open_model", lambda name: open_model(name, home))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (200, 120), "red").save(path)
    return path


def test_the_bundled_model_answers_on_stdout_and_its_cost_is_on_stderr(opticnerve: Run, photo: Path):
    code, out, err = opticnerve("ask", photo, QUESTION, "--max-new-tokens", 4)
    assert code == 0
    assert out.endswith("\n")
    assert out.count("\n") >= 1
    assert "visual tokens of" in err
    assert "ms to the first token" in err


def test_json_says_what_was_asked_and_what_it_cost(opticnerve: Run, photo: Path):
    code, out, err = opticnerve("ask", photo, QUESTION, "read the code", "--json", "--max-new-tokens", 3)
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert (document["image"], document["model"]) == (str(photo), "shuffled")
    first, second = document["answers"]
    assert (first["question"], second["question"]) == (QUESTION, "read the code")
    assert set(first) == {"question", "text", "num_visual_tokens", "num_prompt_tokens", "first_token_ms", "total_ms"}


def test_the_answer_in_json_is_the_one_on_the_terminal(opticnerve: Run, photo: Path):
    _, out, _ = opticnerve("ask", photo, QUESTION)
    _, document, _ = opticnerve("ask", photo, QUESTION, "--json")
    assert json.loads(document)["answers"][0]["text"] == out.strip()


def test_several_questions_stand_before_their_answers(opticnerve: Run, photo: Path):
    _, out, _ = opticnerve("ask", photo, QUESTION, "read the code", "--max-new-tokens", 2)
    lines = out.splitlines()
    assert [line for line in lines if line.startswith("> ")] == [f"> {QUESTION}", "> read the code"]


def test_a_method_names_its_model(opticnerve: Run, photo: Path):
    _, out, _ = opticnerve("ask", photo, QUESTION, "--method", "pool", "--json", "--max-new-tokens", 1)
    assert json.loads(out)["model"] == "pooled"


def test_a_folder_is_a_model(opticnerve: Run, photo: Path, models: Path):
    line = ("ask", photo, QUESTION, "--json", "--max-new-tokens", 1, "--model")
    _, out, _ = opticnerve(*line, models / "trained" / "pooled")
    whole = json.loads(out)["answers"][0]
    _, out, _ = opticnerve(*line, "pooled")
    assert json.loads(out)["answers"][0]["num_visual_tokens"] == whole["num_visual_tokens"]


def test_all_methods_stand_in_one_table(opticnerve: Run, photo: Path):
    code, out, _ = opticnerve("ask", photo, QUESTION, "--all-methods", "--max-new-tokens", 2)
    assert code == 0
    assert f"{photo}: {QUESTION}".replace(" ", "") in "".join(out.split())
    for word in ("method", "answer", "tokens", "first token", "shuffled", "pooled"):
        assert word in out
    _, out, _ = opticnerve("ask", photo, QUESTION, "read the code", "--all-methods", "--max-new-tokens", 2)
    assert out.count("read the code") == 2
    _, out, _ = opticnerve("ask", photo, QUESTION, "--all-methods", "--json", "--max-new-tokens", 1)
    tokens = {one["method"]: one["answers"][0]["num_visual_tokens"] for one in json.loads(out)["models"]}
    assert tokens["pool"] > tokens["pixel_shuffle"] > 0


def test_words_that_the_model_does_not_know_are_named(opticnerve: Run, photo: Path):
    _, _, err = opticnerve("ask", photo, "what color is the zebra?", "--json", "--max-new-tokens", 1)
    assert err.startswith("opticnerve: shuffled does not know: zebra. ")
    assert err.count("\n") == 1
    _, _, err = opticnerve("ask", photo, "where is the zebra?", "--all-methods", "--json", "--max-new-tokens", 1)
    assert err.count("does not know: zebra") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["{photo}"], 'ask what? opticnerve ask IMAGE "QUESTION"'),
        (["none.png", "what?"], "none.png: no such file"),
        (["{photo}", "what?", "--method", "pol"], 'unknown method of a bundled model "pol". Did you mean pool?'),
        (["{photo}", "what?", "--method", "pool", "--model", "x"], "--model and --method both name a model"),
        (["{photo}", "what?", "--all-methods", "--model", "x"], "--all-methods asks every bundled model"),
        (["{photo}", "what?", "--model", "nothing"], 'there is no model "nothing": name a folder with a config.json'),
        (["{photo}", "what?", "--max-new-tokens", "0"], "--max-new-tokens needs at least 1, got 0"),
        ([], "IMAGE"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(opticnerve: Run, photo: Path, line: list[str], message: str):
    code, out, err = opticnerve("ask", *(word.format(photo=photo) for word in line))
    assert (code, out) == (2, "")
    assert err.startswith("opticnerve: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_picture_that_is_none_is_named(opticnerve: Run, tmp_path: Path):
    path = tmp_path / "no.png"
    path.write_text("hello")
    code, _, err = opticnerve("ask", path, "what?")
    assert code == 2
    assert "no.png: not an image" in err


def test_without_bundled_models_one_has_to_be_named(opticnerve: Run, photo: Path, monkeypatch: pytest.MonkeyPatch):
    from opticnerve import family

    nothing: dict[str, Any] = {}
    monkeypatch.setattr(family, "members", lambda: nothing)
    for flags in ([], ["--all-methods"], ["--method", "pool"]):
        code, _, err = opticnerve("ask", photo, "what?", *flags)
        assert code == 2
        assert "this version has no bundled models: name one with --model" in err
