"""The page of the default arena is written from an arena's folder, whoever competes in it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from arena.report_folder import SKILL, write_folder
from opticnerve.arena.report.folder import ArenaFolder, read_folder
from opticnerve.arena.report.summary import Summary, summarise

ROOT = Path(__file__).parents[2]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("arena_page", ROOT / "scripts" / "arena_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ArenaFolder:
    out = tmp_path_factory.mktemp("arena") / "arena"
    return read_folder(write_folder(out, num_images=12, skill={**SKILL, "of_another": 0.6}))


@pytest.fixture(scope="module")
def summary(folder: ArenaFolder) -> Summary:
    return summarise(folder)


def section(text: str, title: str) -> list[list[str]]:
    """The rows of the first table below a heading."""
    below = text.split(f"\n## {title}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_contender_stands_at_each_of_its_budgets(folder: ArenaFolder, summary: Summary) -> None:
    text = SCRIPT.measured(folder, summary, charts=[])
    head, _, *rows = section(text, "Methods and budgets")
    assert head == ["method", "256 tokens", "64 tokens", "16 tokens"]
    assert {row[0] for row in rows} == {*SKILL, "of_another"}
    scores = {row.group.name: row.score for row in summary.rows}
    (found,) = [row for row in rows if row[0] == "of_another"]
    for cell, name in zip(found[2:], ("of_another-4x", "of_another-16x"), strict=True):
        assert f"{100 * scores[name].estimate:.1f}" in cell
        assert f"({100 * scores[name].low:.1f} to {100 * scores[name].high:.1f})" in cell
    assert len(section(text, "What they cost")) == 2 + len(summary.rows)


def test_the_page_says_what_was_run_how_long_and_what_is_advised(folder: ArenaFolder, summary: Summary) -> None:
    text = SCRIPT.measured(folder, summary, charts=["tokens"], commit="1234abc", seconds=[90.0, 600.0], note="a note")
    facts = dict(section(text, "How it ran"))
    assert facts["command"] == "`opticnerve arena synthetic.yaml`"
    assert facts["commit"] == "`1234abc`"
    assert facts["minutes"] == "2 + 10, in 2 runs: it was stopped in between. a note"
    assert "processor: a processor of two cores" in facts["hardware"]
    assert "torch 2.13.0" in facts["versions"]
    assert all(f"* {sentence}" in text for sentence in summary.advice)
    assert "](assets/arena/tokens.png)" in text
    assert "ranking.png" not in text


def test_what_is_not_separable_from_the_best_is_listed(folder: ArenaFolder, summary: Summary) -> None:
    head, _, *rows = section(SCRIPT.measured(folder, summary, charts=[]), "What is not separable")
    assert head == ["tokens", "best", "not separable from it", "worse"]
    for row, tokens in zip(rows[:2], (64, 16), strict=True):
        names = {one.group.name for one in summary.rows if one.group.tokens == tokens}
        assert row[0] == str(tokens)
        assert row[1] in names
        assert {part.split()[0] for cell in row[1:] for part in cell.split("<br>") if part != "none"} == names


def test_the_page_of_the_docs_holds_a_measured_arena_with_its_charts() -> None:
    text = SCRIPT.PAGE.read_text()
    assert text.count(SCRIPT.START) == text.count(SCRIPT.END) == 1
    assert section(text, "Methods and budgets")
    assert "\n## What this does and does not say about large models\n" in text
    for name in SCRIPT.CHARTS:
        assert f"]({SCRIPT.ASSETS}/{name}.png)" in text
        assert (SCRIPT.PAGE.parent / SCRIPT.ASSETS / f"{name}.png").stat().st_size > 10_000
