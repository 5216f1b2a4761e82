"""Many questions about many images: exact match, visual tokens, and the time to the first token."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

import torch

from opticnerve.errors import SpecError
from opticnerve.evaluate.answer import answer, generate, prepare
from opticnerve.evaluate.asked import AskedImage
from opticnerve.evaluate.score import Score, is_right, score
from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """One answer of the model."""

    image: str
    """Name of what was looked at."""
    kind: str
    """Of the question."""
    question: str
    """What was asked."""
    wanted: str
    """The right answer."""
    given: str
    """The model's answer."""
    is_right: bool
    """Whether they match."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """How a model did."""

    scores: tuple[Score, ...]
    """Exact match by kind of question, and over all."""
    num_images: int
    """What was looked at."""
    visual_tokens: tuple[int, float, int]
    """Fewest, mean and most visual tokens of a prompt."""
    first_token_ms: float
    """Median milliseconds to the first token, over the images that were timed."""
    num_timed: int
    """How many were."""
    answers: tuple[Given, ...]
    """Every answer."""


def evaluate(
    model: OpticNerveForConditionalGeneration,
    processor: OpticNerveProcessor,
    asked: Iterable[AskedImage],
    *,
    max_new_tokens: int = 32,
    num_timed: int = 10,
    seed: int = 0,
    on_image: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Ask everything, greedily; the questions of an image share one run of the encoder.

    Args:
        model: in evaluation mode.
        processor: the model's.
        asked: images and questions.
        max_new_tokens: longest answer.
        num_timed: images whose first question is also asked alone, for the time to the first token.
        seed: of the intervals.
        on_image: called after each image.

    Raises:
        SpecError: there is no question.
    """
    answers: list[Given] = []
    num_tokens: list[int] = []
    times_ms: list[float] = []
    for image in asked:
        if not num_tokens and num_timed:
            _timed(model, processor, image)  # the first call also warms up
        if len(num_tokens) < num_timed:
            times_ms.append(_timed(model, processor, image))
        given, visual = _ask(model, processor, image, max_new_tokens=max_new_tokens)
        answers += given
        num_tokens.append(visual)
        on_image()
    if not answers:
        raise SpecError("there is no question to ask: the data hold no user turn with an answer after it")
    return Evaluation(
        scores=score([(one.image, one.kind, one.is_right) for one in answers], seed=seed),
        num_images=len(num_tokens),
        visual_tokens=(min(num_tokens), sum(num_tokens) / len(num_tokens), max(num_tokens)),
        first_token_ms=median(times_ms) if times_ms else float("nan"),
        num_timed=len(times_ms),
        answers=tuple(answers),
    )


def _timed(model: OpticNerveForConditionalGeneration, processor: OpticNerveProcessor, image: AskedImage) -> float:
    return answer(model, processor, image.images, image.questions[0].text, max_new_tokens=1).first_token_ms


@torch.inference_mode()
def _ask(
    model: OpticNerveForConditionalGeneration,
    processor: OpticNerveProcessor,
    image: AskedImage,
    *,
    max_new_tokens: int,
) -> tuple[list[Given], int]:
    """Ask all questions about an image in one batch.

    Returns:
        The answers, and the visual tokens of one prompt.
    """
    inputs = prepare(model, processor, image.images, [one.text for one in image.questions])
    if image.images:
        alone = prepare(model, processor, image.images, [image.questions[0].text])
        features = model.image_features(alone["pixel_values"], alone["image_sizes"])
        del inputs["pixel_values"]
        inputs["image_features"] = features.repeat(len(image.questions), 1)
    sequences = generate(model, processor, inputs, max_new_tokens=max_new_tokens)
    num_prompt = inputs["input_ids"].shape[1]
    texts = processor.tokenizer.batch_decode(sequences[:, num_prompt:], skip_special_tokens=True)
    given = [
        Given(
            image=image.name,
            kind=one.kind,
            question=one.text,
            wanted=one.answer,
            given=text.strip(),
            is_right=is_right(text, one.answer),
        )
        for one, text in zip(image.questions, texts, strict=True)
    ]
    return given, int((inputs["input_ids"][0] == processor.image_token_id).sum())
