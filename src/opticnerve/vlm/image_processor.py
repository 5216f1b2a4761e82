"""From pictures to the tiles that the encoder sees, and the exact number of visual tokens without touching a pixel."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from typing_extensions import override

from opticnerve.connectors import ConnectorSpec
from opticnerve.errors import ImageError
from opticnerve.views import Sight, collate_views


class OpticNerveImageProcessor(BaseImageProcessor):
    """Cuts images as the tiling says; pixels stay bytes, and are normalised by the model.

    Args:
        sight: what `Sight.to_dict` wrote.
        connector: what `ConnectorSpec.to_dict` wrote.
        options: what transformers wrote beside them.
    """

    model_input_names: ClassVar[list[str]] = ["pixel_values", "image_sizes"]

    def __init__(self, *, sight: Mapping[str, Any], connector: Mapping[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self._known_counts: dict[tuple[int, int], int] = {}
        self.sight = Sight.from_dict(sight)
        self.spec = ConnectorSpec.from_dict(dict(connector))

    @property
    def sight(self) -> Sight:
        """How images are seen."""
        return self._sight

    @sight.setter
    def sight(self, sight: Sight) -> None:
        self._sight = sight
        self._known_counts = {}

    @property
    def spec(self) -> ConnectorSpec:
        """The connector."""
        return self._spec

    @spec.setter
    def spec(self, spec: ConnectorSpec) -> None:
        self._spec = spec
        self._known_counts = {}

    @override
    def to_dict(self) -> dict[str, Any]:
        return {
            "image_processor_type": type(self).__name__,
            "sight": self.sight.to_dict(),
            "connector": self.spec.to_dict(),
        }

    def num_image_tokens(self, height_px: int, width_px: int) -> int:
        """Count the visual tokens of an image, without its pixels.

        Args:
            height_px: height of the image.
            width_px: width of the image.

        Raises:
            ImageError: the tiling refuses the size.
            GridError: the connector cannot take the tiles' grids.
        """
        size = (height_px, width_px)
        if size not in self._known_counts:
            plan = self.sight.plan(*size)
            places = {grid: self.spec.out_grid(grid) for grid in dict.fromkeys(self.sight.grids(plan))}
            self._known_counts[size] = plan.num_tokens([places[grid] for grid in self.sight.grids(plan)])
        return self._known_counts[size]

    def views(self, image: UInt8[Tensor, "3 height width"]) -> list[UInt8[Tensor, "tiles 3 _ _"]]:
        """Cut an image into the tiles that the encoder sees.

        Args:
            image: pixels, 0 to 255.

        Returns:
            Tiles in encoder order; neighbours of one size share a tensor.

        Raises:
            ImageError: the tiling refuses the image.
        """
        return list(self.sight.views(image))

    def collate_views(self, images: Sequence[tuple[Sequence[Tensor], tuple[int, int]]]) -> dict[str, Any]:
        """Gather the tiles of many images as the model takes them.

        Args:
            images: the tiles of each image, as `views` gives them, and its height and width in pixels.

        Returns:
            pixel_values, a tensor for each distinct size of tile, and image_sizes, int64 (images, 2).
        """
        sizes = torch.tensor([size for _, size in images], dtype=torch.int64).reshape(-1, 2)
        return {"pixel_values": collate_views([views for views, _ in images]), "image_sizes": sizes}

    @override
    def preprocess(self, images: Any, *_: Any, **__: Any) -> Any:
        """Cut one or many pictures.

        Args:
            images: a picture, or a list, or a list for each prompt; Pillow images, arrays, uint8 tensors or paths.

        Returns:
            A `BatchFeature`: what `collate_views` gives.

        Raises:
            ImageError: a picture cannot be read, or the tiling refuses it.
        """
        pixels = [to_pixels(image) for image in flat(images)]
        return BatchFeature(
            self.collate_views([(self.views(image), (image.shape[1], image.shape[2])) for image in pixels])
        )


def flat(images: Any) -> list[Any]:
    """Make one list of one picture, many, or many for each prompt.

    Args:
        images: pictures, nested in lists or not.
    """
    if isinstance(images, list | tuple):
        return [image for part in cast("Sequence[Any]", images) for image in flat(part)]
    return [images]


def to_pixels(image: Any) -> UInt8[Tensor, "3 height width"]:
    """Bring a picture to bytes. The EXIF orientation is applied, and transparent pixels are laid over white.

    Args:
        image: a Pillow image, a path, or a uint8 array or tensor of (3, height, width) or (height, width, 3).

    Raises:
        ImageError: it cannot be read, or is not of bytes.
    """
    if isinstance(image, str | Path):
        try:
            with Image.open(image) as opened:
                return to_pixels(opened)
        except OSError as error:
            raise ImageError(f"{image}: cannot be read as an image: {error}") from error
    if isinstance(image, Image.Image):
        return rearrange(torch.from_numpy(np.array(_rgb(ImageOps.exif_transpose(image)))), "h w c -> c h w")
    pixels: Any = torch.from_numpy(cast("Any", image)) if isinstance(image, np.ndarray) else image
    if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8 or pixels.ndim != 3 or 3 not in _ends(pixels):
        what = f"{pixels.dtype} {tuple(pixels.shape)}" if isinstance(pixels, Tensor) else type(pixels).__name__
        raise ImageError(
            f"an image is a Pillow image, a path, or uint8 pixels of (3, height, width), got {what}: convert it first"
        )
    return pixels if pixels.shape[0] == 3 else rearrange(pixels, "h w c -> c h w")


def _ends(pixels: Tensor) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[2]


def _rgb(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
