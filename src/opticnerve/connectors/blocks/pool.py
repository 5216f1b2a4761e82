"""Pool: neighbouring patches become their mean, their maximum, or an interpolation of them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.connectors.blocks.maps import from_maps, to_maps
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Grid, Places, require_multiple

PoolMode = Literal["average", "max", "bilinear"]
PoolOdd = Literal["error", "drop"]
AnyOdd = Literal["error", "drop", "reflect", "overlap"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool(BlockSpec):
    """Reduce each `factor` x `factor` block of patches to one; the width stays, detail inside the block is lost.

    "bilinear" resizes to ceil(side / factor) without antialiasing, so it takes any grid: at factor 2 on an even grid it
    is the mean, at 3 the centre patch, at 4 the mean of the inner 2 x 2. It is not an average in general.

    Source: get_2dPool of LLaVA-NeXT (llava_arch.py); Gemma3MultiModalProjector and PerceptionLMAdaptiveAvgPooling
    (transformers).
    """

    kind: ClassVar[str] = "pool"

    factor: int = 2
    """Patches a side that become one."""
    mode: PoolMode = "average"
    """How they become one."""
    odd: AnyOdd = "error"
    """For average and max: refuse a grid that the factor does not divide, drop what is left over (LLaVA), reflect the
    last rows and columns up to a multiple of the factor (Phi-4), or let the floor(side / factor) blocks overlap, as
    adaptive pooling does (Perception-LM)."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.factor < 1:
            raise SpecError(f"pool needs a whole factor of at least 1, got {self.factor}")

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("pool")
        if self.mode == "bilinear":
            return Grid(-(-grid.rows // self.factor), -(-grid.cols // self.factor), frames=grid.frames)
        if self.odd == "reflect":
            grid = self.reflected(grid)
        rows, cols = grid.rows // self.factor, grid.cols // self.factor
        if self.odd == "error" or min(rows, cols) < 1:
            remedy = 'To drop the last rows and columns as LLaVA does, set odd="drop"; mode "bilinear" takes any grid.'
            require_multiple(grid, rows=self.factor, cols=self.factor, action="pool", remedy=remedy)
        return Grid(rows, cols, frames=grid.frames)

    def reflected(self, grid: Grid) -> Grid:
        """Return the grid with its last rows and columns reflected, up to multiples of the factor.

        Raises:
            GridError: there are fewer rows or columns than a reflection needs.
        """
        down, right = -grid.rows % self.factor, -grid.cols % self.factor
        if down >= grid.rows or right >= grid.cols:
            raise GridError(
                f"cannot reflect a {grid} grid up to multiples of {self.factor}: it needs {down + 1} rows and "
                f'{right + 1} columns at least. Lower the factor, or take mode "bilinear", which takes any grid'
            )
        return Grid(grid.rows + down, grid.cols + right, frames=grid.frames)

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        values = BlockSpec.activation_values(self, grid, dim)  # super() does not work in dataclasses with slots
        if self.odd != "reflect" or self.mode == "bilinear":
            return values
        padded = self.reflected(grid.spatial("pool"))
        return values + (padded.size * dim if padded != grid else 0)

    @override
    def build(self, dim: int) -> "PoolBlock":
        return PoolBlock(self)


class PoolBlock(Block):
    """Applies `Pool`."""

    def __init__(self, spec: Pool) -> None:
        super().__init__()
        self.spec = spec

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch pooled dim"]:
        spec, grid = self.spec, grid.spatial("pool")
        out = spec.out_grid(grid)
        image = to_maps(features, grid)
        if spec.odd == "reflect" and spec.mode != "bilinear":
            padded = spec.reflected(grid)
            image = F.pad(image, (0, padded.cols - grid.cols, 0, padded.rows - grid.rows), mode="reflect")
        size, overlaps = (out.rows, out.cols), spec.odd == "overlap"
        match spec.mode:
            case "average":
                image = F.adaptive_avg_pool2d(image, size) if overlaps else F.avg_pool2d(image, spec.factor)
            case "max":
                image = F.adaptive_max_pool2d(image, size) if overlaps else F.max_pool2d(image, spec.factor)
            case "bilinear":
                image = F.interpolate(image, size=size, mode="bilinear")
        return from_maps(image, frames=grid.frames)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptivePool(BlockSpec):
    """Average into a grid of a fixed size, whatever comes in: bins overlap where the sides do not divide.

    A smaller grid is enlarged: its patches are repeated. Frames are pooled as well if `frames` is not 0.

    Source: AdaptiveAvgPool2d of MobileVLM V2 and Honeybee; AdaptiveAvgPool3d of PLLaVA.
    """

    kind: ClassVar[str] = "adaptive_pool"

    rows: int
    """Rows that come out."""
    cols: int
    """Columns that come out."""
    frames: int = 0
    """Frames that come out; 0 keeps the frames that come in."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.rows < 1 or self.cols < 1 or self.frames < 0:
            raise SpecError(
                f"adaptive pool needs a grid of at least 1 x 1, got {self.frames} x {self.rows} x {self.cols}"
            )

    @override
    def out_grid(self, grid: Places) -> Grid:
        grid = grid.spatial("pool")
        return Grid(self.rows, self.cols, frames=self.frames or grid.frames)

    @override
    def build(self, dim: int) -> "AdaptivePoolBlock":
        return AdaptivePoolBlock(self)


class AdaptivePoolBlock(Block):
    """Applies `AdaptivePool`."""

    def __init__(self, spec: AdaptivePool) -> None:
        super().__init__()
        self.spec = spec

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch pooled dim"]:
        grid = grid.spatial("pool")
        out = self.spec.out_grid(grid)
        if out.frames == grid.frames and torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            return mean_bins(features, grid, rows=out.rows, cols=out.cols)
        if out.frames == grid.frames:
            pooled = F.adaptive_avg_pool2d(to_maps(features, grid), (out.rows, out.cols))
            return from_maps(pooled, frames=grid.frames)
        video = rearrange(features, "b (t h w) c -> b c t h w", t=grid.frames, h=grid.rows)
        pooled = F.adaptive_avg_pool3d(video, (out.frames, out.rows, out.cols))
        return rearrange(pooled, "b c t h w -> b (t h w) c")


def mean_bins(
    features: Float[Tensor, "batch patches dim"], grid: Grid, *, rows: int, cols: int
) -> Float[Tensor, "batch pooled dim"]:
    """Average into bins as adaptive pooling does, by two small matrix products in float32.

    Compilers make one program of it for all grids, whereas torch's own adaptive pooling is compiled for each of them.

    Args:
        features: in raster order, frame after frame.
        grid: where they lie.
        rows: bins from top to bottom.
        cols: bins from left to right.
    """
    down, across = (_bins(*sides, features.device) for sides in ((grid.rows, rows), (grid.cols, cols)))
    # three axes at most: compilers ask of four whether they are channels-last, and fix their sizes by that
    lines = rearrange(features.float(), "b (t h w) d -> (b t) h (w d)", t=grid.frames, h=grid.rows)
    lines = rearrange(down @ lines, "b p (w d) -> (b p) w d", w=grid.cols)
    return rearrange(across @ lines, "(b t p) q d -> b (t p q) d", t=grid.frames, p=rows).to(features.dtype)


def _bins(num_in: int, num_out: int, device: torch.device) -> Float[Tensor, "num_out num_in"]:
    """Return the share that each place has in each bin: from floor(k n / m) up to ceil((k + 1) n / m)."""
    bins = torch.arange(num_out, device=device)[:, None]
    places = torch.arange(num_in, device=device)
    inside = (places >= bins * num_in // num_out) & (places * num_out < (bins + 1) * num_in)
    return inside / inside.sum(1, keepdim=True)
