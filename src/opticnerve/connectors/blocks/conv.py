"""Convolutions over the grid: patch-merging ones, and the depthwise 3 x 3 that encodes position (PEG)."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.base import LLM, Block, BlockSpec, Dim, fixed
from opticnerve.connectors.blocks.maps import from_maps, to_maps
from opticnerve.connectors.blocks.pool import PoolOdd
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Places, require_multiple


@dataclass(frozen=True, kw_only=True, slots=True)
class Downsample(BlockSpec):
    """Merge `factor` x `factor` patches by a convolution whose stride is its kernel.

    The same map as Merge (order "channel_row_col") and Linear, in the weights' own shape.

    Source: PoolerProjector and SpatialPool of LLaVA-NeXT.
    """

    kind: ClassVar[str] = "downsample"

    factor: int = 2
    """Kernel and stride, patches a side."""
    dim: Dim = LLM
    """Channels that come out."""
    odd: PoolOdd = "error"
    """Refuse a grid that the factor does not divide, or drop what is left over (LLaVA)."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.factor < 1:
            raise SpecError(f"downsample needs a whole factor of at least 1, got {self.factor}")

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("convolve")
        if self.odd == "error" or min(grid.rows, grid.cols) < self.factor:
            remedy = 'To drop the last rows and columns as LLaVA does, set odd="drop".'
            require_multiple(grid, rows=self.factor, cols=self.factor, action="downsample", remedy=remedy)
        return Grid(grid.rows // self.factor, grid.cols // self.factor, frames=grid.frames)

    @override
    def out_dim(self, dim: int) -> int:
        return fixed(self.dim)

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return 2 * self.out_grid(grid).size * dim * self.factor**2 * fixed(self.dim)

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        features_and_maps = 2 * grid.size * dim
        return features_and_maps + self.out_grid(grid).size * fixed(self.dim)

    @override
    def build(self, dim: int) -> "DownsampleBlock":
        return DownsampleBlock(self, dim)


class DownsampleBlock(Block):
    """Applies `Downsample`."""

    def __init__(self, spec: Downsample, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.conv = nn.Conv2d(dim, fixed(spec.dim), kernel_size=spec.factor, stride=spec.factor)

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch merged out"]:
        grid = grid.spatial("convolve")
        self.spec.out_grid(grid)
        return from_maps(self.conv(to_maps(features, grid)), frames=grid.frames)


@dataclass(frozen=True, kw_only=True, slots=True)
class PEG(BlockSpec):
    """Positional encoding generator: a depthwise 3 x 3 convolution added to its input. Tokens and width stay.

    Source: Chu et al., "Conditional Positional Encodings for Vision Transformers", 2021; LDPNetV2Projector of
    MobileVLM V2.
    """

    kind: ClassVar[str] = "peg"

    @override
    def out_grid(self, grid: Places) -> Grid:
        return grid.spatial("convolve")

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return 2 * grid.size * dim * 9

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        return 3 * grid.size * dim

    @override
    def build(self, dim: int) -> "PEGBlock":
        return PEGBlock(dim)


class PEGBlock(Block):
    """Applies `PEG`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim)

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch patches dim"]:
        grid = grid.spatial("convolve")
        return features + from_maps(self.conv(to_maps(features, grid)), frames=grid.frames)
