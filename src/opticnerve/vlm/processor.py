"""Prompts and pictures in, tensors out: every image gets as many placeholders as it will have visual tokens."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast, no_type_check

from jaxtyping import UInt8
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerBase
from transformers.processing_utils import MultiModalData, ProcessorMixin
from typing_extensions import override

from opticnerve.errors import ImageError
from opticnerve.vlm.image_processor import OpticNerveImageProcessor, flat

IMAGE_TOKEN = "<image>"
"""What marks in a text where an image stands."""

_IMAGE_KEYS = ("image", "url", "path", "base64")


class OpticNerveProcessor(ProcessorMixin):
    """Image processor, tokenizer and chat template.

    Args:
        image_processor: cuts images.
        tokenizer: the LLM's, which knows `<image>` as one token.
        chat_template: how messages become a prompt (Jinja).
        image_token: what marks in a text where an image stands.
    """

    image_token: str
    image_token_id: int
    skip_tensor_conversion: ClassVar[list[str]] = ["pixel_values", "text_replacement_offsets"]
    text_kwargs = {"padding": True}  # noqa: RUF012 transformers' own way

    @no_type_check  # transformers reads the names of the arguments off the code object, which a checker would replace
    def __init__(
        self,
        image_processor: OpticNerveImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None = None,
        image_token: str = IMAGE_TOKEN,
    ) -> None:
        self.image_token = image_token
        self.image_token_id = cast("int", tokenizer.convert_tokens_to_ids(image_token))
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def num_image_tokens(self, height_px: int, width_px: int) -> int:
        """Count the visual tokens of an image; see `OpticNerveImageProcessor.num_image_tokens`."""
        return self.image_processor.num_image_tokens(height_px, width_px)

    def views(self, image: UInt8[Tensor, "3 height width"]) -> list[UInt8[Tensor, "tiles 3 _ _"]]:
        """Cut an image into the tiles that the encoder sees; see `OpticNerveImageProcessor.views`."""
        return self.image_processor.views(image)

    def collate_views(self, images: Sequence[tuple[Sequence[Tensor], tuple[int, int]]]) -> dict[str, Any]:
        """Gather the tiles of many images; see `OpticNerveImageProcessor.collate_views`."""
        return self.image_processor.collate_views(images)

    def expand(self, text: str, image_sizes: Sequence[tuple[int, int]]) -> str:
        """Write each placeholder of a prompt as often as its image has visual tokens.

        Args:
            text: the prompt.
            image_sizes: height and width in pixels of each image, in the order of the placeholders.

        Raises:
            ImageError: there are not as many placeholders as images.
        """
        self._check_images([text], [len(image_sizes)])
        counts = [self.num_image_tokens(*size) for size in image_sizes]
        first, *rest = text.split(self.image_token)
        return first + "".join(self.image_token * count + part for count, part in zip(counts, rest, strict=True))

    @override
    def validate_inputs(self, images: Any = None, text: Any = None, *_: Any, **__: Any) -> None:
        """Refuse prompts and images that do not belong together.

        Raises:
            ImageError: a prompt has not as many placeholders as images.
        """
        if text is None and images is None:
            raise ImageError("there is nothing to process: pass text, images, or both")
        if text is None:
            return
        texts = [text] if isinstance(text, str) else list(text)
        self._check_images(texts, _count(images))

    @override
    def replace_image_token(self, image_inputs: Mapping[str, Any], image_idx: int, **_: Any) -> str:
        height, width = image_inputs["image_sizes"][image_idx].tolist()
        return self.image_token * self.num_image_tokens(height, width)

    @override
    def apply_chat_template(self, conversation: Any, *args: Any, **options: Any) -> Any:
        """Make prompts of messages; see `ProcessorMixin.apply_chat_template`.

        Args:
            conversation: messages, or many such; their content is a string in which "<image>" marks images, or parts
                such as {"type": "image", "image": ...} and {"type": "text", "text": ...}, which are joined by line
                breaks.
            args: as there.
            options: as there. With `tokenize`, images that have no part of their own come in
                `processor_kwargs={"images": ...}`.
        """
        is_many = bool(conversation) and isinstance(conversation[0], list | tuple)
        conversations = conversation if is_many else [conversation]
        images = [[image for message in own for image in _images(message)] for own in conversations]
        plain = [[{**message, "content": self._text(message)} for message in own] for own in conversations]
        if any(images):
            given: dict[str, Any] = options.get("processor_kwargs") or {}
            options["processor_kwargs"] = {**given, "images": images if is_many else images[0]}
        if not options.get("tokenize"):
            options.pop("processor_kwargs", None)
        return super().apply_chat_template(plain if is_many else plain[0], *args, **options)

    def _get_num_multimodal_tokens(self, image_sizes: Sequence[Sequence[int]] | None = None, **_: Any) -> Any:
        """Count visual tokens and tiles by image, as servers ask for them."""
        if image_sizes is None:
            return MultiModalData()
        tokens = [self.num_image_tokens(*size) for size in image_sizes]
        tiles = [self.image_processor.sight.plan(*size).num_tiles for size in image_sizes]
        return MultiModalData(num_image_tokens=tokens, num_image_patches=tiles)

    def _process_images(self, images: Any, **options: Any) -> tuple[BatchFeature, list[str]]:
        processed = self.image_processor(images, **options)
        count = len(processed["image_sizes"])
        return processed, [self.replace_image_token(processed, index) for index in range(count)]

    def _text(self, message: Mapping[str, Any]) -> str:
        content = message.get("content") or ""
        if isinstance(content, str):
            return content
        return "\n".join(self.image_token if part["type"] == "image" else part["text"] for part in content)

    def _check_images(self, texts: Sequence[str], counts: Sequence[int]) -> None:
        marks = [text.count(self.image_token) for text in texts]
        if (marks != list(counts)) if len(counts) == len(marks) else (sum(marks) != sum(counts)):
            raise ImageError(
                f'the prompts have {_list(marks)} "{self.image_token}", but there are {_list(counts)} images: write '
                f'"{self.image_token}" once for each image, where it stands'
            )


def _count(images: Any) -> list[int]:
    """Count images, by prompt where they come by prompt."""
    if images is None:
        return [0]
    if isinstance(images, list | tuple):
        own = cast("Sequence[Any]", images)
        if own and isinstance(own[0], list | tuple):
            return [len(flat(each)) for each in own]
    return [len(flat(images))]


def _images(message: Mapping[str, Any]) -> list[Any]:
    content = message.get("content") or ""
    parts = [] if isinstance(content, str) else [part for part in content if part["type"] == "image"]
    return [part[key] for part in parts for key in _IMAGE_KEYS if key in part]


def _list(counts: Sequence[int]) -> str:
    return " + ".join(map(str, counts)) or "0"
