"""The interface of every vision encoder: pixels in, features on a grid out, and every count known beforehand."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from opticnerve.encoders.normalisation import Normalisation
from opticnerve.errors import EncoderError
from opticnerve.grid import Grid


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderInfo:
    """What there is to know of an encoder before it runs."""

    name: str
    """Registered name, folder or hub name that it was loaded by."""
    dim: int
    """Channels of its features, all chosen levels together."""
    patch_px: int
    """Side of the square of pixels that becomes one feature."""
    native_px: tuple[int, int]
    """Height and width that it was trained on; for an encoder without one, the size that planning starts from."""
    step_px: int
    """Both sides of an image must be multiples of this: the patch, or the block of patches that a merger takes."""
    is_any_size: bool
    """Takes other sizes than the native one."""
    num_prefix: int
    """Prefix tokens (CLS, registers) that stand before the patches of its output; 0 where they are dropped."""
    normalisation: Normalisation
    """Mean and deviation that its pixels are normalised by."""

    def grid(self, height_px: int, width_px: int) -> Grid:
        """Tell where the features of an image lie.

        An encoder whose native size is no multiple of its patch (SigLIP so400m: 384 px, patches of 14) takes that size
        all the same, and does not see the last rows and columns of pixels, as published.

        Args:
            height_px: height of the image.
            width_px: width of the image.

        Raises:
            EncoderError: the size does not fit; the message names sizes that do.
        """
        self.check_size(height_px, width_px)
        return Grid(height_px // self.patch_px, width_px // self.patch_px, prefix=self.num_prefix)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        pairs = {"native_px": list(self.native_px), "normalisation": self.normalisation.to_dict()}
        return {**asdict(self), **pairs}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "EncoderInfo":
        """Read what `to_dict` gave.

        Args:
            data: plain values.

        Raises:
            EncoderError: something is missing or unknown.
        """
        known = {field.name for field in fields(EncoderInfo)}
        if set(data) != known:
            raise EncoderError(f"an encoder is described by {', '.join(sorted(known))}; got {', '.join(sorted(data))}")
        height, width = data["native_px"]
        norm = data["normalisation"]
        normalisation = Normalisation(mean=tuple(norm["mean"]), std=tuple(norm["std"]))
        fixed: dict[str, Any] = {**data, "native_px": (height, width), "normalisation": normalisation}
        return EncoderInfo(**fixed)

    def check_size(self, height_px: int, width_px: int) -> None:
        """Refuse a size that does not fit.

        Args:
            height_px: height of the image.
            width_px: width of the image.

        Raises:
            EncoderError: the message names sizes that fit.
        """
        if (height_px, width_px) == self.native_px:
            return
        native = f"{self.native_px[0]} x {self.native_px[1]} px"
        if min(height_px, width_px) < 1 or height_px % self.step_px or width_px % self.step_px:
            fitting = sorted(
                {
                    (_below(height_px, self.step_px), _below(width_px, self.step_px)),
                    (_above(height_px, self.step_px), _above(width_px, self.step_px)),
                }
            )
            near = " and ".join(f"{height} x {width}" for height, width in fitting)
            near = near if self.is_any_size else f"only {native}"
            raise EncoderError(
                f'encoder "{self.name}" cannot take an image of {height_px} x {width_px} px: both sides must be '
                f"multiples of {self.step_px} px. Sizes that fit: {near}. Resize, pad or tile the image first."
            )
        if not self.is_any_size:
            raise EncoderError(
                f'encoder "{self.name}" takes images of {native} only (its position table cannot be interpolated), '
                f"got {height_px} x {width_px} px. Resize or tile the image first."
            )


def _below(side: int, step: int) -> int:
    return max(side // step, 1) * step


def _above(side: int, step: int) -> int:
    return max(-(-side // step), 1) * step


class Encoder(nn.Module, ABC):
    """A vision encoder. Subclasses run it; everything here is known from `info` alone.

    The output has `grid(height_px, width_px).size` features: prefix tokens first if they are kept, then the patches row
    by row.
    """

    def __init__(self, info: EncoderInfo) -> None:
        super().__init__()
        self.info = info

    @property
    def name(self) -> str:
        """Name that it was loaded by."""
        return self.info.name

    @property
    def dim(self) -> int:
        """Channels of its features, all chosen levels together."""
        return self.info.dim

    @property
    def patch_px(self) -> int:
        """Side of a patch in pixels."""
        return self.info.patch_px

    @property
    def native_px(self) -> tuple[int, int]:
        """Height and width that it was trained on, in pixels."""
        return self.info.native_px

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of red, green and blue, on pixels from 0 to 1."""
        return self.info.normalisation.mean

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of red, green and blue, on pixels from 0 to 1."""
        return self.info.normalisation.std

    def grid(self, height_px: int, width_px: int) -> Grid:
        """Tell where the features of an image lie, without running.

        Args:
            height_px: height of the image.
            width_px: width of the image.

        Raises:
            EncoderError: the size does not fit; the message names sizes that do.
        """
        return self.info.grid(height_px, width_px)

    def normalise(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Bring pixels to the range that the encoder was trained on: (pixel / 255 - mean) / std, in float32.

        Args:
            images: red, green and blue, 0 to 255.
        """
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        std = torch.tensor(self.std, device=images.device)[:, None, None]
        return images.to(torch.float32).mul_(1 / (255 * std)).sub_(mean / std)

    @abstractmethod
    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch positions dim"]:
        """Encode normalised pixels.

        Args:
            pixels: what `normalise` returns; all images of one size.

        Returns:
            Features, prefix tokens first if they are kept, then patches row by row.

        Raises:
            EncoderError: the size does not fit.
        """

    @abstractmethod
    def flops(self, height_px: int, width_px: int) -> int:
        """Count the operations for one image: 2 x multiply-adds of matrix products, convolutions and attention.

        Args:
            height_px: height of the image.
            width_px: width of the image.

        Raises:
            EncoderError: the size does not fit.
        """
