"""Strided convolution: a k x k window over the grid, its stride smaller than its kernel."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.base import LLM, Block, BlockSpec, Dim, fixed
from opticnerve.connectors.blocks.maps import from_maps, to_maps
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Grid, Places


@dataclass(frozen=True, kw_only=True, slots=True)
class StridedConv(BlockSpec):
    """Convolve the grid: a token is a sum over `kernel` x `kernel` patches, and there is one every `stride` patches.

    With the defaults the tokens are a quarter, rounded up at odd sides, and windows overlap by one patch. A stride of 1
    keeps the grid. Beyond the edge are zeros. Where kernel and stride are equal and nothing is padded, `Downsample` is
    the same map.

    Source: GotOcr2MultiModalProjector, DeepseekOcr2SamVisionProj, downsampler1 of Step3p7VisionModel (transformers).
    """

    kind: ClassVar[str] = "strided_conv"

    kernel: int = 3
    """Patches a side of a window."""
    stride: int = 2
    """Patches from one window to the next."""
    padding: int = 1
    """Rows and columns of zeros on each side of the grid."""
    dim: Dim = LLM
    """Channels that come out."""
    has_bias: bool = True
    """Whether a bias is added."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.kernel < 1 or self.stride < 1 or not 0 <= self.padding < self.kernel:
            raise SpecError(
                f"strided conv needs a whole kernel and stride of at least 1 and a padding below the kernel, got "
                f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"
            )

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("convolve")
        rows, cols = ((side + 2 * self.padding - self.kernel) // self.stride + 1 for side in (grid.rows, grid.cols))
        if min(rows, cols) < 1:
            raise GridError(
                f"cannot convolve a {grid} grid by {self.kernel} x {self.kernel}: with {self.padding} rows and columns "
                f"of zeros around it, no window fits. Both sides must be at least {self.kernel - 2 * self.padding}"
            )
        return Grid(rows, cols, frames=grid.frames)

    @override
    def out_dim(self, dim: int) -> int:
        return fixed(self.dim)

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return 2 * self.out_grid(grid).size * dim * self.kernel**2 * fixed(self.dim)

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        features_and_maps = 2 * grid.size * dim
        return features_and_maps + self.out_grid(grid).size * fixed(self.dim)

    @override
    def build(self, dim: int) -> "StridedConvBlock":
        return StridedConvBlock(self, dim)


class StridedConvBlock(Block):
    """Applies `StridedConv` to each frame alone."""

    def __init__(self, spec: StridedConv, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.conv = nn.Conv2d(
            dim,
            fixed(spec.dim),
            kernel_size=spec.kernel,
            stride=spec.stride,
            padding=spec.padding,
            bias=spec.has_bias,
        )

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch fewer out"]:
        grid = grid.spatial("convolve")
        self.spec.out_grid(grid)
        return from_maps(self.conv(to_maps(features, grid)), frames=grid.frames)
