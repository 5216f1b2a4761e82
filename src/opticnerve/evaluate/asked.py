"""Images with questions whose answers are known."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from opticnerve.data import IMAGE, Sample
from opticnerve.data.reading import ReadingSource, Split

PLAIN = "answer"
"""Kind of a question whose data name none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question and its right answer."""

    kind: str
    """Of the question, by which scores are grouped."""
    text: str
    """The question, without image marks."""
    answer: str
    """The right answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedImage:
    """What is looked at, and what is asked about it, each question on its own."""

    name: str
    """Names the image in results."""
    images: tuple[UInt8[Tensor, "3 _ _"], ...]
    """Pixels, 0 to 255; several, or none, where the data say so."""
    questions: tuple[Asked, ...]
    """At least one."""


def reading_questions(*, num_samples: int, split: Split = "test", level: float = 1.0) -> Iterator[AskedImage]:
    """Ask about scenes of the reading task.

    Args:
        num_samples: scenes.
        split: of the task.
        level: from 0, easy, to 1.

    Yields:
        Scenes that have questions, in order.
    """
    task = ReadingSource(split=split, num_samples=num_samples, level=level)
    for index in range(num_samples):
        scene, questions = task.scene(index)
        asked = tuple(Asked(kind=one.kind, text=one.text, answer=one.answer) for one in questions)
        if asked:
            pixels = torch.from_numpy(scene.pixels.copy()).permute(2, 0, 1).contiguous()
            yield AskedImage(name=f"{split} {index}", images=(pixels,), questions=asked)


def sample_questions(samples: Iterable[Sample]) -> Iterator[AskedImage]:
    """Ask what a data set asks: each user turn that has an answer, without the turns before it.

    Args:
        samples: conversations.

    Yields:
        Samples that have such turns, in order.

    Raises:
        ImageError: an image cannot be read.
    """
    for sample in samples:
        pairs = zip(sample.messages, sample.messages[1:], strict=False)
        asked = tuple(
            Asked(kind=PLAIN, text=said.content.replace(IMAGE, "").strip(), answer=reply.content)
            for said, reply in pairs
            if said.role == "user" and reply.role == "assistant"
        )
        if asked:
            images = tuple(sample.decode(index) for index in range(len(sample.images)))
            yield AskedImage(name=sample.id, images=images, questions=asked)
