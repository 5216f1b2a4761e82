"""RegNet stage: bottleneck blocks of 1 x 1, depthwise 3 x 3 and 1 x 1 convolutions, each added to its input."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.base import IN, Block, BlockSpec, Dim, fixed
from opticnerve.connectors.blocks.fit_width import require_width
from opticnerve.connectors.blocks.map_norm import MapNorm
from opticnerve.connectors.blocks.maps import from_maps, to_maps
from opticnerve.connectors.blocks.squeeze_excite import SqueezeExcite, squeeze_excite_flops
from opticnerve.errors import SpecError
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class RegStage(BlockSpec):
    """Let each patch see `depth` patches around it, and change the width. The number of tokens stays.

    Source: Radosavovic et al., "Designing Network Design Spaces", 2020, as timm's RegStage with layer norm, SiLU and
    groups of one channel; CAbstractor of Honeybee (projectors.py).
    """

    kind: ClassVar[str] = "reg_stage"

    dim: Dim = 1024
    """Channels inside and out."""
    depth: int = 3
    """How many blocks one after another."""
    eps: float = 1e-5
    """Of every layer norm."""
    in_dim: Dim = IN
    """Channels that come in; leave it as it is: it tells a resolved spec whether the first shortcut has weights."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.depth < 1:
            raise SpecError(f"reg_stage needs a depth of at least 1 block, got {self.depth}: leave it out for none")

    @property
    def has_projected_shortcut(self) -> bool:
        """Whether the first block projects what it adds back; known once the widths are resolved."""
        return fixed(self.in_dim) != fixed(self.dim)

    @override
    def out_grid(self, grid: Places) -> Places:
        return grid.spatial("convolve")

    @override
    def out_dim(self, dim: int) -> int:
        return fixed(self.dim)

    def in_dims(self, dim: int) -> Iterator[int]:
        """List the width that enters each block."""
        for index in range(self.depth):
            yield fixed(self.dim) if index else dim

    @override
    def flops(self, grid: Places, dim: int) -> int:
        out, frames, total = fixed(self.dim), grid.spatial("convolve").frames, 0
        for width in self.in_dims(dim):
            shortcut = width if width != out else 0
            total += 2 * grid.size * out * (width + 9 + out + shortcut)
            total += frames * squeeze_excite_flops(dim=out, squeezed=squeezed_dim(width))
        return total

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        out = fixed(self.dim)
        inside = 3 if self.depth > 1 or dim != out else 2
        return grid.size * (dim + inside * out)

    @override
    def build(self, dim: int) -> "RegStageBlock":
        require_width(self.kind, resolved=fixed(self.in_dim), given=dim)
        return RegStageBlock(self, dim)


def squeezed_dim(in_dim: int) -> int:
    """Say how narrow the squeeze is: a quarter of what enters the block (not of what it is inside).

    Raises:
        SpecError: nothing is left.
    """
    squeezed = round(in_dim / 4)
    if squeezed < 1:
        raise SpecError(f"reg_stage squeezes {in_dim} channels to a quarter, which is none: it needs at least 3")
    return squeezed


class RegStageBlock(Block):
    """Applies `RegStage`."""

    def __init__(self, spec: RegStage, dim: int) -> None:
        super().__init__()
        out = fixed(spec.dim)
        self.stages = nn.ModuleList(Bottleneck(in_dim=width, dim=out, eps=spec.eps) for width in spec.in_dims(dim))

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch patches out"]:
        grid = grid.spatial("convolve")
        maps = to_maps(features, grid)
        for stage in self.stages:
            maps = stage(maps)
        return from_maps(maps, frames=grid.frames)


class Bottleneck(nn.Module):
    """One block of a stage: project, look around, rescale, mix, and add the input back."""

    def __init__(self, *, in_dim: int, dim: int, eps: float) -> None:
        super().__init__()
        self.enter = nn.Conv2d(in_dim, dim, kernel_size=1, bias=False)
        self.enter_norm = MapNorm(dim, eps=eps)
        self.depthwise = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim, bias=False)
        self.depthwise_norm = MapNorm(dim, eps=eps)
        self.scale = SqueezeExcite(dim=dim, squeezed=squeezed_dim(in_dim), function="silu", gate="sigmoid")
        self.leave = nn.Conv2d(dim, dim, kernel_size=1, bias=False)
        self.leave_norm = MapNorm(dim, eps=eps)
        self.shortcut = nn.Identity() if in_dim == dim else nn.Conv2d(in_dim, dim, kernel_size=1, bias=False)
        self.shortcut_norm = nn.Identity() if in_dim == dim else MapNorm(dim, eps=eps)

    @override
    def forward(self, maps: Float[Tensor, "batch in_dim rows cols"]) -> Float[Tensor, "batch dim rows cols"]:
        hidden = maps
        project = (self.enter, self.enter_norm, F.silu)
        look = (self.depthwise, self.depthwise_norm, F.silu)
        for step in (*project, *look, self.scale, self.leave, self.leave_norm):  # one by one: holds two maps at most
            hidden = step(hidden)
        hidden = hidden + self.shortcut_norm(self.shortcut(maps))
        return F.silu(hidden)
