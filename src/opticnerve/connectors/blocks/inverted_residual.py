"""Inverted residual: a depthwise 3 x 3 convolution, squeeze and excitation, and a 1 x 1 convolution."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.connectors.blocks.map_norm import MapNorm
from opticnerve.connectors.blocks.maps import from_maps, to_maps
from opticnerve.connectors.blocks.squeeze_excite import SqueezeExcite, divisible, squeeze_excite_flops
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Places


@dataclass(frozen=True, kw_only=True, slots=True)
class InvertedResidual(BlockSpec):
    """Look at each patch and its eight neighbours, then mix the channels; the width stays.

    Stride 1 keeps the tokens and adds the input back. A larger stride gives ceil(side / stride) a side, whatever the
    sides are, and adds nothing back. There is no expansion: the block is as wide inside as outside.

    Source: Howard et al., "Searching for MobileNetV3", 2019, with layer norm in the place of batch norm; LDPBlock of
    MobileVLM.
    """

    kind: ClassVar[str] = "inverted_residual"

    stride: int = 1
    """Patches a side from one token to the next."""
    eps: float = 1e-5
    """Of both layer norms."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.stride < 1:
            raise SpecError(f"inverted_residual needs a whole stride of at least 1, got {self.stride}")

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("convolve")
        return Grid(-(-grid.rows // self.stride), -(-grid.cols // self.stride), frames=grid.frames)

    @override
    def flops(self, grid: Places, dim: int) -> int:
        out = self.out_grid(grid)
        return out.size * 2 * dim * (9 + dim) + out.frames * squeeze_excite_flops(dim=dim, squeezed=squeezed_dim(dim))

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        return (grid.size + 2 * self.out_grid(grid).size) * dim

    @override
    def build(self, dim: int) -> "InvertedResidualBlock":
        return InvertedResidualBlock(self, dim)


def squeezed_dim(dim: int) -> int:
    """Say how narrow the squeeze is: a quarter of the width, as a multiple of 8."""
    return divisible(dim // 4, 8)


class InvertedResidualBlock(Block):
    """Applies `InvertedResidual`."""

    def __init__(self, spec: InvertedResidual, dim: int) -> None:
        super().__init__()
        self.has_residual = spec.stride == 1
        self.depthwise = nn.Conv2d(dim, dim, kernel_size=3, stride=spec.stride, padding=1, groups=dim, bias=False)
        self.depthwise_norm = MapNorm(dim, eps=spec.eps)
        self.scale = SqueezeExcite(dim=dim, squeezed=squeezed_dim(dim), function="relu", gate="hardsigmoid")
        self.pointwise = nn.Conv2d(dim, dim, kernel_size=1, bias=False)
        self.pointwise_norm = MapNorm(dim, eps=spec.eps)

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch tokens dim"]:
        grid = grid.spatial("convolve")
        hidden = to_maps(features, grid)
        look = (self.depthwise, self.depthwise_norm, F.hardswish)
        for step in (*look, self.scale, self.pointwise, self.pointwise_norm):  # one by one: holds two maps at most
            hidden = step(hidden)
        out = from_maps(hidden, frames=grid.frames)
        return features + out if self.has_residual else out
