"""From a sample to a training example: ids, labels on answers only, and the views of its images."""

from collections.abc import Callable, Mapping, Sequence
from typing import NotRequired, TypedDict, TypeVar, cast

import torch
from jaxtyping import Int
from torch import Tensor

from opticnerve.data.chat import ChatWriter, Span
from opticnerve.data.processors import Processor
from opticnerve.data.samples import IMAGE, Message, Sample, SeenImage, SeenTokens
from opticnerve.errors import BadSampleError, GridError, ImageError, ShapeError, SpecError

IGNORED = -100
"""Label of a token without a loss."""

Read = TypeVar("Read")

_IMAGE_FAULTS = (ImageError, GridError, ShapeError)


class Example(TypedDict):
    """What one sample becomes before it is batched."""

    id: str
    """Of the sample."""
    input_ids: Int[Tensor, " tokens"]
    """Each image mark as many times as the image has visual tokens."""
    labels: Int[Tensor, " tokens"]
    """The ids of the answers; `IGNORED` elsewhere."""
    image_sizes: list[tuple[int, int]]
    """Height and width in pixels of each image."""
    views: NotRequired[list[Sequence[Tensor]]]
    """What the encoder sees of each image."""
    image_features: NotRequired[list[Tensor]]
    """In place of `views`: the encoder's packed features of each image, (positions, vision_dim)."""
    image_tokens: NotRequired[list[Tensor]]
    """In place of both: the visual tokens of each image, (tokens, llm_dim)."""
    labels_extra: dict[str, Tensor]
    """The labels that the sample brings along."""


class ExampleMaker:
    """Makes examples with a model's processor. Nothing is cut off: what does not fit is a bad sample."""

    def __init__(self, processor: Processor, *, max_tokens: int) -> None:
        """Try the processor's chat template.

        Args:
            processor: the model's; its tokenizer is one of the fast ones.
            max_tokens: most tokens of an example, visual tokens included.

        Raises:
            SpecError: there is no chat template, or it cannot be split into prompts and answers; or the tokenizer
                does not say which characters a token stands for.
        """
        self.processor = processor
        self.max_tokens = max_tokens
        tokenizer = processor.tokenizer
        if not getattr(tokenizer, "is_fast", False):
            raise SpecError(
                f"{type(tokenizer).__name__} does not say which characters a token stands for, which tells answers "
                f"from prompts: use a fast tokenizer of transformers"
            )
        if not isinstance(processor.chat_template, str) or not processor.chat_template:
            raise SpecError("the processor has no chat template: give it one as `chat_template`")
        ends = {*tokenizer.all_special_tokens, *tokenizer.added_tokens_encoder} - {processor.image_token}
        self._writer = ChatWriter(
            processor.chat_template,
            special_tokens=dict(tokenizer.special_tokens_map),
            end_tokens=sorted(text for text in ends if text.strip()),
        )
        # A tokenizer that begins every text with BOS does so here too, unless the template has written it.
        starts = cast("list[int]", tokenizer(IMAGE)["input_ids"])[:1]
        self._bos = starts if starts == [tokenizer.bos_token_id] else []

    def make(self, sample: Sample) -> Example:
        """Make an example with the views of its images; with features or visual tokens if they were seen before.

        Args:
            sample: a conversation.

        Raises:
            BadSampleError: an image cannot be read, the conversation is not one that can be learned from, or it is
                too long.
            SpecError: the chat template cannot write conversations of several turns.
        """
        example = self._without_images(sample)
        seen = [image.features for image in sample.images if isinstance(image, SeenImage)]
        if seen:
            return {**example, "image_features": seen}
        if tokens := self._tokens_made(sample):
            return {**example, "image_tokens": tokens}
        pixels = [_image(sample, index, sample.decode) for index in range(len(sample.images))]
        try:
            example["views"] = [self.processor.views(image) for image in pixels]
        except _IMAGE_FAULTS as error:
            raise BadSampleError(sample.id, str(error)) from error
        return example

    def count_tokens(self, sample: Sample) -> int:
        """Count the tokens of a sample about as `make` would, at little cost: of images only the headers are read.

        Args:
            sample: a conversation.

        Raises:
            BadSampleError: an image's header cannot be read.
        """
        text = "\n".join(message.content.replace(IMAGE, "") for message in sample.messages)
        return len(self.processor.tokenizer(text, verbose=False)["input_ids"]) + sum(self._counts(sample)[0])

    def _without_images(self, sample: Sample) -> Example:
        check_conversation(sample)
        text, answers = self._writer.write(sample.messages, name=sample.id)
        counts, sizes = self._counts(sample)
        ids, is_answer = self._tokens(text, answers)
        places = ids == self.processor.image_token_id
        if int(places.sum()) != len(counts):
            raise BadSampleError(
                sample.id, f"the chat template leaves {int(places.sum())} of {len(counts)} image marks in its text"
            )
        repeats = torch.ones_like(ids)
        repeats[places] = torch.tensor(counts, dtype=torch.long)
        num_tokens = int(repeats.sum())
        if num_tokens > self.max_tokens:
            given = f"{num_tokens:,} tokens, {sum(counts):,} of them visual"
            raise BadSampleError(sample.id, f"{given}, are more than the limit of {self.max_tokens:,}")
        labels = torch.where(is_answer & ~places, ids, IGNORED)
        labels[0] = IGNORED  # nothing comes before it that it could be predicted from
        if not (labels != IGNORED).any():
            raise BadSampleError(sample.id, "no token of the answers is left to learn")
        return {
            "id": sample.id,
            "input_ids": ids.repeat_interleave(repeats),
            "labels": labels.repeat_interleave(repeats),
            "image_sizes": sizes,
            "labels_extra": dict(sample.labels),
        }

    def _counts(self, sample: Sample) -> tuple[list[int], list[tuple[int, int]]]:
        sizes = [_image(sample, index, sample.size) for index in range(len(sample.images))]
        try:
            return [self.processor.num_image_tokens(*size) for size in sizes], sizes
        except _IMAGE_FAULTS as error:
            raise BadSampleError(sample.id, str(error)) from error

    def _tokens_made(self, sample: Sample) -> list[Tensor]:
        made = [image for image in sample.images if isinstance(image, SeenTokens)]
        for number, image in enumerate(made, start=1):
            wanted = self.processor.num_image_tokens(image.height_px, image.width_px)
            if len(image.tokens) != wanted:
                given = f"image {number} has {len(image.tokens)} visual tokens that were made before"
                raise BadSampleError(sample.id, f"{given}, and this model makes {wanted} of it")
        return [image.tokens for image in made]

    def _tokens(self, text: str, answers: Sequence[Span]) -> tuple[Tensor, Tensor]:
        encoded = cast(
            "Mapping[str, list[int]]",
            self.processor.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False),
        )
        ids = torch.tensor(encoded["input_ids"], dtype=torch.long)
        start, stop = torch.tensor(encoded["offset_mapping"], dtype=torch.long).reshape(-1, 2).unbind(1)
        is_answer = torch.zeros_like(ids, dtype=torch.bool)
        for span in answers:
            # Some tokenizers leave a space out of its token's stretch: of " " then nothing remains but its end.
            begins = (start < span.stop) | ((start == stop) & (stop == span.stop))
            is_answer |= begins & (stop > span.start)
        if self._bos and ids[:1].tolist() != self._bos:
            ids = torch.cat([torch.tensor(self._bos), ids])
            is_answer = torch.cat([torch.zeros(1, dtype=torch.bool), is_answer])
        return ids, is_answer


def check_conversation(sample: Sample) -> None:
    """Refuse a conversation that cannot be learned from.

    Args:
        sample: with messages: a system message or none, then questions and answers by turns, an answer last.

    Raises:
        BadSampleError: the roles are in another order, an answer is empty, or there are not as many image marks as
            images.
    """
    roles = [message.role for message in sample.messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        raise BadSampleError(sample.id, f"user and assistant do not take turns: {', '.join(roles) or 'no messages'}")
    for number, message in enumerate(_answers(sample), start=1):
        if not message.content.strip():
            raise BadSampleError(sample.id, f"answer {number} is empty")
    marks = sum(message.content.count(IMAGE) for message in sample.messages)
    if marks != len(sample.images):
        raise BadSampleError(sample.id, f'{marks} times "{IMAGE}" in the messages, but {len(sample.images)} images')


def _answers(sample: Sample) -> list[Message]:
    return [message for message in sample.messages if message.role == "assistant"]


def _image(sample: Sample, index: int, read: Callable[[int], Read]) -> Read:
    try:
        return read(index)
    except ImageError as error:
        raise BadSampleError(sample.id, f"image {index + 1}: {error}") from error
