"""What training is made of: a conversation and the images that it is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from opticnerve.data.images import decode_image, image_size, pixels_of, upright_size
from opticnerve.errors import ImageError

IMAGE = "<image>"
"""Marks the place of an image in the text of a message."""

Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class SeenImage:
    """An image that an encoder saw before; there are no pixels any more."""

    features: Float[Tensor, "positions vision_dim"]
    """What the encoder gave, packed."""
    height_px: int
    """Height of the image as it came."""
    width_px: int
    """Width of the image as it came."""


@dataclass(frozen=True, slots=True)
class SeenTokens:
    """An image that encoder and connector saw before; there are no pixels and no features any more."""

    tokens: Float[Tensor, "tokens llm_dim"]
    """What the connector gave, in the order of the prompt."""
    height_px: int
    """Height of the image as it came."""
    width_px: int
    """Width of the image as it came."""


ImageSource: TypeAlias = Path | bytes | Image.Image | Tensor | SeenImage | SeenTokens
"""An image file, the bytes of one, an opened one, pixels (uint8, (3, height, width)), features, or visual tokens. All
images of a sample come in the same one of three ways: as pictures, as features, or as visual tokens."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    """Who speaks."""
    content: str
    """What is said; `IMAGE` marks where an image stands."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One conversation with its images, not decoded yet."""

    id: str
    """Names the sample in logs: its source and its place in there. No two samples of a run share one."""
    messages: tuple[Message, ...]
    """The turns, first to last."""
    images: tuple[ImageSource, ...]
    """As many as there are marks in the messages, in the order of the marks."""
    labels: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """Whatever an objective wants besides the answers, under names of its own; handed on as it is."""

    def decode(self, index: int) -> UInt8[Tensor, "3 height width"]:
        """Decode one image, by the rules of `decode_image`.

        Args:
            index: which of the images.

        Raises:
            ImageError: it cannot be read.
        """
        source = self.images[index]
        if isinstance(source, SeenImage | SeenTokens):
            kind = "features" if isinstance(source, SeenImage) else "visual tokens"
            raise ImageError(f"image {index + 1} is {kind}, without pixels: make the example from them")
        if isinstance(source, Path | bytes):
            return decode_image(source)
        if isinstance(source, Image.Image):
            return pixels_of(source)
        return _checked(source)

    def size(self, index: int) -> tuple[int, int]:
        """Read the height and width in pixels of one image; of a file only the header is read.

        Args:
            index: which of the images.

        Raises:
            ImageError: it cannot be read.
        """
        source = self.images[index]
        if isinstance(source, SeenImage | SeenTokens):
            return source.height_px, source.width_px
        if isinstance(source, Path | bytes):
            return image_size(source)
        if isinstance(source, Image.Image):
            return upright_size(source)
        height, width = _checked(source).shape[1:]
        return height, width


def _checked(pixels: Tensor) -> Tensor:
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3:
        raise ImageError(
            f"a tensor of {pixels.dtype} and shape {tuple(pixels.shape)} is not an image: uint8 and (3, height, width) "
            f"are needed"
        )
    return pixels
