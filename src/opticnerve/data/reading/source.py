"""The reading task as a source of samples: the i-th is the same in every run and on every machine."""

import random
from dataclasses import dataclass, replace

import torch

from opticnerve.data.reading.questions import KINDS_OF_QUESTION, Question, ask_about
from opticnerve.data.reading.scene import Scene, draw_scene, recipe_at
from opticnerve.data.reading.symbols import item_table
from opticnerve.data.reading.words import Split
from opticnerve.data.samples import IMAGE, Message, Sample
from opticnerve.errors import SpecError, UnknownNameError


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingSource:
    """Pages, signs and charts of one split, each with several questions.

    Every sample carries two labels, for objectives that spell visual tokens out: "items" (`item_table`), and "asked",
    the number of the thing that each question asks for, -1 where it asks for several.

    Raises:
        SpecError: a number cannot be.
    """

    split: Split = "train"
    """The splits share no seed and no code."""
    num_samples: int
    """Scenes."""
    level: float = 1.0
    """From 0, easy, to 1, glyphs of a few pixels."""
    num_questions: int = 4
    """Most questions about a scene."""
    chart_share: float | None = None
    """Share of scenes with a bar chart, signs aside; None is what the level has (`recipe_at`). Another share is another
    series of scenes."""
    kinds: tuple[str, ...] = KINDS_OF_QUESTION
    """Kinds of question; a scene that allows none of them is asked others."""
    has_pictures: bool = True
    """Without them a sample is its questions and labels alone, and quickly made; its scene is another."""

    def __post_init__(self) -> None:
        if self.num_samples < 1 or self.num_questions < 1 or not 0 <= self.level <= 1:
            raise SpecError(
                f"the reading task needs num_samples and num_questions of at least 1 and a level from 0 to 1, got "
                f"{self.num_samples}, {self.num_questions} and {self.level}"
            )
        if unknown := [kind for kind in self.kinds if kind not in KINDS_OF_QUESTION]:
            raise UnknownNameError("kind of question", unknown[0], KINDS_OF_QUESTION)
        if self.chart_share is not None and not 0 <= self.chart_share <= 1:
            raise SpecError(f"chart_share of the reading task is a share from 0 to 1, got {self.chart_share}")

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Sample:
        """Draw one scene as a sample: one question and answer after another, the image before the first.

        Args:
            index: from 0.

        Raises:
            IndexError: there is no such sample.
        """
        scene, questions = self.scene(index)
        messages: list[Message] = []
        for question in questions:
            start = IMAGE if self.has_pictures and not messages else ""
            messages += [Message("user", start + question.text), Message("assistant", question.answer)]
        pixels = (torch.from_numpy(scene.pixels.copy()).permute(2, 0, 1),) if self.has_pictures else ()
        asked = torch.tensor([question.item for question in questions])
        labels = {"items": item_table(scene.items), "asked": asked}
        return Sample(id=f"reading/{self.split}/{index}", messages=tuple(messages), images=pixels, labels=labels)

    def scene(self, index: int) -> tuple[Scene, tuple[Question, ...]]:
        """Draw one scene and ask about it.

        Args:
            index: from 0.

        Raises:
            IndexError: there is no such scene.
        """
        if not 0 <= index < self.num_samples:
            raise IndexError(f"the reading task has {self.num_samples} samples here, there is no number {index}")
        recipe, series = recipe_at(self.level), f"{self.split} {self.level}"
        if self.chart_share is not None:
            recipe, series = replace(recipe, chart_share=self.chart_share), f"{series} {self.chart_share}"
        rng = random.Random(f"{series} {index}")
        scene = draw_scene(rng, split=self.split, recipe=recipe, has_ground=self.has_pictures)
        return scene, ask_about(scene, rng, most=self.num_questions, kinds=self.kinds)
