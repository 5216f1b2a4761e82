"""What an arena asks: images with questions, and how high the glyphs are that must be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch

from opticnerve.arena.config import Test
from opticnerve.data import Sample
from opticnerve.data.good_samples import Source
from opticnerve.data.reading import ReadingSource
from opticnerve.errors import DataError
from opticnerve.evaluate import Asked, AskedImage, sample_questions
from opticnerve.train.recipe import ReadingData
from opticnerve.train.sources import open_source


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """An image with its questions."""

    asked: AskedImage
    heights_px: tuple[float | None, ...]
    """For each question, the height of the glyphs that it asks for, in pixels of the image; None where none must be
    read, or nobody knows."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels.

        Raises:
            DataError: there is not exactly one image.
        """
        if len(self.asked.images) != 1:
            raise DataError(
                f"{self.asked.name} has {len(self.asked.images)} images; an arena compares visual tokens per image, so"
                " each sample of its test and validation needs one"
            )
        (image,) = self.asked.images
        return image.shape[1], image.shape[2]


def pages(test: Test) -> Iterator[Page]:
    """Go through a test.

    Args:
        test: names it.

    Yields:
        Images that have questions, in order.

    Raises:
        DataError: the data cannot be read.
    """
    if isinstance(test, ReadingData):
        yield from _reading_pages(cast("ReadingSource", open_source(test)))
        return
    source = cast("Source", open_source(test))
    samples: Iterator[Sample] = (source[index] for index in range(len(source)))
    for asked in sample_questions(samples):
        yield Page(asked=asked, heights_px=(None,) * len(asked.questions))


def first_page(test: Test) -> Page:
    """Return the first image of a test.

    Args:
        test: names it.

    Raises:
        DataError: it has none.
    """
    for page in pages(test):
        return page
    raise DataError("the test of the arena holds no question with an answer: name other data")


def _reading_pages(task: ReadingSource) -> Iterator[Page]:
    for index in range(len(task)):
        scene, questions = task.scene(index)
        if not questions:
            continue
        pixels = torch.from_numpy(scene.pixels.copy()).permute(2, 0, 1).contiguous()
        asked = tuple(Asked(kind=one.kind, text=one.text, answer=one.answer) for one in questions)
        boxes = [scene.items[one.item].box if one.font_px else None for one in questions]
        yield Page(
            asked=AskedImage(name=f"reading/{task.split}/{index}", images=(pixels,), questions=asked),
            heights_px=tuple(round(box[3] - box[1], 1) if box else None for box in boxes),
        )
