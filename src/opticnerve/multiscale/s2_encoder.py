"""An encoder with S2 around it, which is an encoder again."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.grid import Grid
from opticnerve.multiscale.s2 import S2
from opticnerve.multiscale.s2_forward import s2_features


@runtime_checkable
class TokenEncoder(Protocol):
    """What S2 needs of an encoder; every encoder of this library has it."""

    @property
    def name(self) -> str:
        """Name that it was loaded by."""
        ...

    @property
    def dim(self) -> int:
        """Channels of its features."""
        ...

    @property
    def native_px(self) -> tuple[int, int]:
        """Height and width that it was trained on."""
        ...

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of red, green and blue."""
        ...

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of red, green and blue."""
        ...

    def grid(self, height_px: int, width_px: int) -> Grid:
        """Tell where the features of an image lie."""
        ...

    def flops(self, height_px: int, width_px: int) -> int:
        """Count the operations for one image."""
        ...

    def normalise(self, images: Tensor) -> Tensor:
        """Bring pixels to the range that it was trained on."""
        ...

    def __call__(self, pixels: Tensor) -> Tensor:
        """Encode normalised pixels."""
        ...


class S2Encoder(nn.Module):
    """Any encoder at several scales: the same number of tokens as one of the scales, channels times scales.

    Args:
        encoder: an encoder of this library, or a module that answers the same questions.
        spec: the scales.
    """

    def __init__(self, encoder: TokenEncoder, *, spec: S2) -> None:
        super().__init__()
        # A module is registered by the assignment, so that its weights are found, moved and saved.
        self.encoder = encoder
        self.spec = spec

    @property
    def name(self) -> str:
        """Name of the encoder inside."""
        return self.encoder.name

    @property
    def dim(self) -> int:
        """Channels of its features, all scales together."""
        return self.spec.out_dim(self.encoder.dim)

    @property
    def native_px(self) -> tuple[int, int]:
        """The size to give it: the encoder's own times `comes_at`, or the largest scale where scales are in pixels."""
        if self.spec.unit == "image":
            height, width = self.encoder.native_px
            return int(height * self.spec.comes_at), int(width * self.spec.comes_at)
        return int(max(self.spec.scales)), int(max(self.spec.scales))

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of red, green and blue."""
        return self.encoder.mean

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of red, green and blue."""
        return self.encoder.std

    def grid(self, height_px: int, width_px: int) -> Grid:
        """Tell where the features of an image lie, without running.

        Args:
            height_px: height of the image.
            width_px: width of the image.
        """
        return self.spec.out_grid(height_px, width_px, grid=self.encoder.grid)

    def normalise(self, images: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Bring pixels to the range that the encoder was trained on.

        Args:
            images: red, green and blue, 0 to 255.
        """
        return self.encoder.normalise(images)

    @override
    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch positions dims"]:
        """Encode normalised pixels at every scale.

        Args:
            pixels: what `normalise` returns.
        """
        return s2_features(self.spec, self.encoder, pixels, grid=self.encoder.grid)

    def flops(self, height_px: int, width_px: int) -> int:
        """Count the operations for one image over all its tiles.

        Args:
            height_px: height of the image.
            width_px: width of the image.
        """
        return self.spec.flops(height_px, width_px, flops=self.encoder.flops)
