"""PEG's residual as a part of its convolution."""

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks import PEG
from opticnerve.connectors.blocks.conv import PEGBlock
from opticnerve.connectors.blocks.maps import from_maps, to_maps
from opticnerve.connectors.rewrites.base import Cost, Placed, Rewrite, Step
from opticnerve.grid import Places


class FoldPEG(Rewrite):
    """A convolution that is added to its input: the same convolution with 1 added to the centre of its kernel."""

    name: ClassVar[str] = "fold PEG"
    why: ClassVar[str] = (
        "a convolution whose kernel is 1 at its centre gives back its input, so the residual is one too"
    )
    holds_in_training: ClassVar[bool] = False

    @override
    def match(self, blocks: Sequence[Placed]) -> int:
        return 1 if blocks and isinstance(blocks[0].spec, PEG) else 0

    @override
    def cost(self, blocks: Sequence[Placed]) -> Cost:
        peg = blocks[0]
        return Cost(flops=peg.flops, values=2 * peg.places.size * peg.dim)

    @override
    def build(self, blocks: Sequence[Placed], modules: nn.ModuleList) -> Step:
        return FoldedPEG(blocks[0].index, cast("PEGBlock", modules[blocks[0].index]))


class FoldedPEG(Step):
    """PEG by one convolution.

    In 16 bits the kernel is left alone: next to 1 its centre would lose digits that the sum keeps.
    """

    kernel: Tensor

    def __init__(self, index: int, block: PEGBlock) -> None:
        super().__init__()
        self.index = index
        kernel = block.conv.weight.detach().double().clone()
        kernel[:, :, 1, 1] += 1
        self.register_buffer("kernel", kernel.to(block.conv.weight.dtype), persistent=False)

    @override
    def out_grid(self, grid: Places) -> Places:
        return grid.spatial("convolve")

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places, blocks: nn.ModuleList
    ) -> Float[Tensor, "batch positions dim"]:
        block = cast("PEGBlock", blocks[self.index])
        if block.conv.weight.dtype not in (torch.float32, torch.float64):
            return block(features, grid)
        grid = grid.spatial("convolve")
        maps = to_maps(features, grid)
        out = F.conv2d(maps, self.kernel, block.conv.bias, padding=1, groups=block.conv.groups)
        return from_maps(out, frames=grid.frames)
