"""One question about one image: the answer as it comes, and how long the first token took."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

import torch
from jaxtyping import UInt8
from torch import Tensor
from transformers import TextStreamer
from typing_extensions import override

from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a model said, and what it cost."""

    text: str
    """The answer."""
    num_visual_tokens: int
    """Visual tokens of all images."""
    num_prompt_tokens: int
    """Tokens of the prompt, visual ones included."""
    first_token_ms: float
    """Milliseconds from decoded images and question to the first token: tiling, encoder, connector and the LLM."""
    total_ms: float
    """Milliseconds to the last token."""


def answer(
    model: OpticNerveForConditionalGeneration,
    processor: OpticNerveProcessor,
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    question: str,
    *,
    max_new_tokens: int = 64,
    on_text: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Ask one question, greedily.

    Args:
        model: in evaluation mode.
        processor: the model's.
        images: pixels, 0 to 255.
        question: without image marks; the images stand before it.
        max_new_tokens: longest answer.
        on_text: called with each piece of the answer as soon as it is known.
    """
    start = perf_counter()
    inputs = prepare(model, processor, images, [question])
    watch = _Watch(processor.tokenizer, on_text)
    sequences = generate(model, processor, inputs, max_new_tokens=max_new_tokens, streamer=watch)
    end = perf_counter()
    num_prompt_tokens = inputs["input_ids"].shape[1]
    (text,) = processor.tokenizer.batch_decode(sequences[:, num_prompt_tokens:], skip_special_tokens=True)
    return Answer(
        text=text.strip(),
        num_visual_tokens=int((inputs["input_ids"] == processor.image_token_id).sum()),
        num_prompt_tokens=num_prompt_tokens,
        first_token_ms=1000 * (watch.first_at - start),
        total_ms=1000 * (end - start),
    )


def prepare(
    model: OpticNerveForConditionalGeneration,
    processor: OpticNerveProcessor,
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    questions: Sequence[str],
) -> dict[str, Any]:
    """Write prompts with the same images, one for each question, padded on the left.

    Args:
        model: says on which device.
        processor: the model's.
        images: pixels, 0 to 255.
        questions: without image marks.

    Returns:
        What `generate` takes.
    """
    marks = [{"type": "image"} for _ in images]
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [*marks, {"type": "text", "text": question}]}],
            tokenize=False,
            add_generation_prompt=True,
        )
        for question in questions
    ]
    pictures = {"images": [list(images) for _ in questions]} if images else {}
    batch: dict[str, Any] = cast("Any", processor)(
        text=texts, **pictures, padding=True, padding_side="left", return_tensors="pt"
    )
    return {name: _on(value, model.device) for name, value in batch.items()}


@torch.inference_mode()
def generate(
    model: OpticNerveForConditionalGeneration,
    processor: OpticNerveProcessor,
    inputs: dict[str, Any],
    *,
    max_new_tokens: int,
    streamer: TextStreamer | None = None,
) -> Tensor:
    """Generate greedily.

    Args:
        model: in evaluation mode.
        processor: the model's.
        inputs: of `prepare`.
        max_new_tokens: longest answer.
        streamer: told of each token, of one prompt.

    Returns:
        Prompts and answers, as token ids.
    """
    tokenizer = processor.tokenizer
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return cast("Any", model).generate(
        **inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, pad_token_id=pad, streamer=streamer
    )


def unknown_words(tokenizer: Any, text: str) -> tuple[str, ...]:  # noqa: ANN401
    """List the words of a text that a tokenizer has no token for.

    Args:
        tokenizer: of transformers; one without an unknown token knows everything.
        text: such as a question.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return ()
    words = dict.fromkeys(_WORD.findall(text))
    return tuple(word for word in words if unknown in tokenizer(word, add_special_tokens=False)["input_ids"])


class _Watch(TextStreamer):
    """Hands each piece of text on, and remembers when the first token came.

    Args:
        tokenizer: the model's.
        on_text: called with each piece.
    """

    def __init__(self, tokenizer: Any, on_text: Callable[[str], None]) -> None:  # noqa: ANN401
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.first_at = float("nan")
        self._on_text = on_text

    @override
    def put(self, value: Tensor) -> None:
        if not self.next_tokens_are_prompt and self.first_at != self.first_at:
            self.first_at = perf_counter()
        super().put(value)

    @override
    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self._on_text(text)


def _on(value: Any, device: torch.device) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_on(one, device) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return value.to(device) if isinstance(value, Tensor) else value
