"""A connector learns to show a language model what is on a page; without the picture it learns nothing of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from opticnerve import family
from opticnerve.data.reading import Question, ReadingSource, Scene
from opticnerve.evaluate import evaluate, reading_questions
from opticnerve.train.load_recipe import load_recipe
from opticnerve.train.recipe import ModelSettings
from opticnerve.train.run import run
from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor

NUM_PAGES = 384
SEEING = ("color", "marker", "place", "where", "shape")
"""Kinds of question whose answer no prior gives: at best one in four."""


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The language model of a bundled model."""
    folder = tmp_path_factory.mktemp("llm")
    model, processor = family.load("s2_pool")
    model.parts["llm"].save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    return folder


def trained(llm: Path, out: Path) -> tuple[float, list[float]]:
    """Train a new connector for half a minute; give the share of right answers, and the losses of the first stage."""
    recipe = load_recipe(
        "tiny",
        [
            *(f"stages.{stage}.data=[{{kind: reading, num_samples: {NUM_PAGES}, level: 0.0}}]" for stage in (3, 4)),
            "stages.*.batch_size=16",
            "stages.*.micro_batch_size=16",
            "log_every=20",
        ],
    )
    align, tune = recipe.stages[-2:]
    stages = (align.model_copy(update={"steps": 160}), tune.model_copy(update={"steps": 100}))
    model = ModelSettings(llm=str(llm), tiling="plain", method="pool")
    losses = Losses()
    path = run(recipe.model_copy(update={"model": model, "stages": stages}), out, progress=losses)
    pages = reading_questions(split="validation", num_samples=48, level=0.0)
    loaded = OpticNerveForConditionalGeneration.from_pretrained(path).eval()
    result = evaluate(loaded, OpticNerveProcessor.from_pretrained(path), pages, num_timed=0)
    graded = [one.is_right for one in result.answers if one.kind in SEEING]
    return sum(graded) / len(graded), losses.of["align"]


class Losses:
    """Keeps the losses of each stage."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = {}

    def started(self, report: object) -> None: ...

    def stepped(self, report: object) -> None:
        self.of.setdefault(report.stage, []).append(report.loss)

    def said(self, line: str) -> None: ...


@pytest.mark.slow
def test_a_minute_of_training_reads_pages_and_blank_pages_stay_at_chance(
    llm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    torch.manual_seed(0)
    right, losses = trained(llm, tmp_path / "pages")
    assert losses[-1] < 0.7 * losses[0]
    draw = ReadingSource.scene

    def blank(source: ReadingSource, index: int) -> tuple[Scene, tuple[Question, ...]]:
        scene, questions = draw(source, index)
        return Scene(pixels=np.full_like(scene.pixels, 255), items=scene.items), questions

    monkeypatch.setattr(ReadingSource, "scene", blank)
    guessed, _ = trained(llm, tmp_path / "blank")
    assert guessed < 0.25
    assert right > guessed + 0.2
