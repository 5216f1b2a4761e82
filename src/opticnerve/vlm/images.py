"""The images of a batch, as they reach the model: tiles, features of a cache, or visual tokens made before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from jaxtyping import Float, Int
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from opticnerve.errors import ShapeError

Pixels = Sequence[Tensor] | Tensor
"""uint8 (tiles, 3, height, width) for each distinct size of tile, in order of first use, all images' tiles one after
another in encoder order; a plain tensor where there is one size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """What `forward` was given of images; None where it was not.

    Raises:
        ShapeError: images are given in two ways, or without their sizes.
    """

    pixel_values: Pixels | None = None
    """Tiles of all images."""
    image_sizes: Int[Tensor, "images 2"] | None = None
    """Height and width of each image, in pixels."""
    image_features: Float[Tensor, "total_positions vision_dim"] | None = None
    """What the encoder gave for them before."""
    mm_encoder_outputs: Mapping[str, Any] | None = None
    """{"image": visual tokens of each image}."""

    def __post_init__(self) -> None:
        ways = {
            "pixel_values": self.pixel_values,
            "image_features": self.image_features,
            "mm_encoder_outputs": self.made,
        }
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise ShapeError(f"images are given in two ways, as {' and '.join(given)}: pass one of them")
        if given and self.made is None and self.image_sizes is None:
            raise ShapeError(f"{given[0]} needs image_sizes, the height and width of each image: pass them too")

    @property
    def made(self) -> Sequence[Tensor] | None:
        """Visual tokens of each image that are made already; None where there are none."""
        output: Any = (self.mm_encoder_outputs or {}).get("image")
        return cast("Sequence[Tensor] | None", getattr(output, "pooler_output", output))

    @property
    def are_none(self) -> bool:
        """There is nothing to encode."""
        no_views = self.pixel_values is None and self.image_features is None
        return no_views or (self.image_sizes is not None and not len(self.image_sizes))


def pooled(tokens: Sequence[Tensor]) -> BaseModelOutputWithPooling:
    """Wrap visual tokens in the output that transformers hands around under `mm_encoder_outputs`.

    Args:
        tokens: of each image.
    """
    return BaseModelOutputWithPooling(pooler_output=cast("Any", list(tokens)))
