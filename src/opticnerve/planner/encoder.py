"""A vision encoder as numbers: sizes, parameters and operations, without weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from opticnerve.encoders import Encoder, EncoderInfo


class EncoderCosts(ABC):
    """What the planner asks of an encoder that stops after the layers that are read."""

    @property
    @abstractmethod
    def info(self) -> EncoderInfo:
        """Sizes, channels and patches."""

    @property
    @abstractmethod
    def num_params(self) -> int:
        """Learned numbers that are needed."""

    @property
    @abstractmethod
    def num_layers(self) -> int:
        """Transformer layers that are run."""

    @abstractmethod
    def flops(self, height_px: int, width_px: int) -> int:
        """Count the operations for one image or tile: 2 for each multiply-add.

        Args:
            height_px: height of the tile.
            width_px: width of the tile.

        Raises:
            EncoderError: the size does not fit.
        """

    @abstractmethod
    def activation_values(self, height_px: int, width_px: int) -> int:
        """Estimate the numbers alive at the widest point for one tile, without gradients.

        Args:
            height_px: height of the tile.
            width_px: width of the tile.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltEncoder(EncoderCosts):
    """An encoder whose module is there, on the meta device or with its weights: anything that has no closed form."""

    encoder: Encoder
    depth: int
    """Transformer layers that are run."""

    @property
    @override
    def info(self) -> EncoderInfo:
        return self.encoder.info

    @property
    @override
    def num_params(self) -> int:
        return sum(parameter.numel() for parameter in self.encoder.parameters())

    @property
    @override
    def num_layers(self) -> int:
        return self.depth

    @override
    def flops(self, height_px: int, width_px: int) -> int:
        return self.encoder.flops(height_px, width_px)

    @override
    def activation_values(self, height_px: int, width_px: int) -> int:
        layer = self.info.grid(height_px, width_px).size * (4 * self.info.dim + 2 * module_width(self.encoder))
        pixels = height_px * width_px
        return max(layer, round(pixels * stem_values(self.encoder))) + 3 * pixels


def module_depth(encoder: Encoder) -> int:
    """Count the layers of an encoder: its longest list of modules.

    Args:
        encoder: built, on the meta device or with its weights.
    """
    from torch import nn

    stacks: Sequence[int] = [len(module) for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    return max(stacks, default=1)


def module_width(encoder: Encoder) -> int:
    """Return the channels of an encoder's widest map: those in the middle of its MLP.

    Args:
        encoder: built, on the meta device or with its weights.
    """
    from torch import nn

    widths: Sequence[int] = [module.out_features for module in encoder.modules() if isinstance(module, nn.Linear)]
    return max(widths, default=encoder.info.dim)


def stem_values(encoder: Encoder) -> float:
    """Estimate the numbers alive for each pixel in an encoder's first convolution: what it returns, and its activation.

    Args:
        encoder: built, on the meta device or with its weights.
    """
    from torch import nn

    first = next((module for module in encoder.modules() if isinstance(module, nn.Conv2d)), None)
    return 2 * first.out_channels / (first.stride[0] * first.stride[1]) if first else 0
