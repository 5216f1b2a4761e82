"""What data preparation asks of the model: how it writes a conversation, and how it sees an image."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import UInt8
from torch import Tensor


@runtime_checkable
class Processor(Protocol):
    """The part of a model's processor that makes training examples."""

    tokenizer: Any
    """A fast tokenizer of transformers, which knows `image_token`."""
    chat_template: Any
    """Jinja text that writes a conversation; where an answer is may be marked with {% generation %}."""

    @property
    def image_token(self) -> str:
        """The text that stands for an image."""
        ...

    @property
    def image_token_id(self) -> int:
        """Its id, which is repeated for each visual token."""
        ...

    def num_image_tokens(self, height_px: int, width_px: int) -> int:
        """Count the visual tokens of an image.

        Args:
            height_px: height of the image.
            width_px: width of the image.
        """
        ...

    def views(self, image: UInt8[Tensor, "3 height width"], /) -> Sequence[Tensor]:
        """Cut an image into what the encoder sees.

        Args:
            image: pixels.

        Returns:
            Tiles in encoder order: one batch of bytes for each run of views of one size.
        """
        ...

    def collate_views(self, images: list[tuple[Sequence[Tensor], tuple[int, int]]], /) -> dict[str, Any]:
        """Put the views of several images together.

        Args:
            images: what `views` returned, and the height and width of the image.

        Returns:
            What the model's `forward` takes: `pixel_values` and `image_sizes`.
        """
        ...
