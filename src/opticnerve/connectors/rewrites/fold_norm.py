"""The scale and shift of a norm as a part of the Linear after it."""

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks import Linear, Merge, Norm
from opticnerve.connectors.blocks.linear import LinearBlock
from opticnerve.connectors.blocks.norm import LayerNorm, NormBlock, RMSNorm
from opticnerve.connectors.rewrites.base import Cost, InOrder, Placed, Rewrite, Step
from opticnerve.connectors.rewrites.stages import Stages
from opticnerve.grid import Places


class FoldNorm(Rewrite):
    """Norm, perhaps Merge, then Linear: the norm without weights, and a Linear that has taken them in.

    A kernel for layer norm scales and shifts in the same pass, so only RMS norms gain by it. The Linear's weight is
    held a second time.
    """

    name: ClassVar[str] = "fold norm"
    why: ClassVar[str] = "W (g x + b) + c = (W diag(g)) x + (W b + c): the next Linear takes in scale and shift"
    holds_in_training: ClassVar[bool] = False

    @override
    def match(self, blocks: Sequence[Placed]) -> int:
        if not blocks or not isinstance(norm := blocks[0].spec, Norm) or norm.norm == "rms_no_scale":
            return 0
        count = 1
        # what a merge pads is zero, and no shift
        if len(blocks) > 1 and isinstance(merge := blocks[1].spec, Merge) and merge.odd == "error":
            count = 2
        return count + 1 if len(blocks) > count and isinstance(blocks[count].spec, Linear) else 0

    @override
    def cost(self, blocks: Sequence[Placed]) -> Cost:
        norm, rest = blocks[0], Cost.of(blocks[1:])
        return Cost(flops=rest.flops, values=max(rest.values, 2 * norm.places.size * norm.dim))

    @override
    def build(self, blocks: Sequence[Placed], modules: nn.ModuleList) -> Step:
        norm, *merges, linear = blocks
        own = cast("NormBlock", modules[norm.index]).norm
        scale, shift = _weights(own)
        for one in merges:
            spec = cast("Merge", one.spec)
            scale, shift = _repeat(scale, spec), None if shift is None else _repeat(shift, spec)
        folded = FoldedLinear(cast("LinearBlock", modules[linear.index]).linear, scale=scale, shift=shift)
        return Stages([BareNorm(norm.index), *([InOrder(merges)] if merges else []), folded])


class BareNorm(Step):
    """A norm that does not scale or shift."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    @override
    def out_grid(self, grid: Places) -> Places:
        return grid

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places, blocks: nn.ModuleList
    ) -> Float[Tensor, "batch positions dim"]:
        return _normalise(features, cast("NormBlock", blocks[self.index]).norm)


class FoldedLinear(Step):
    """A Linear of scaled and shifted features.

    Args:
        linear: whose weights are taken as they are now.
        scale: what its input would be multiplied by, in float64.
        shift: what would be added to it then, in float64.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear, *, scale: Float[Tensor, " dim"], shift: Float[Tensor, " dim"] | None) -> None:
        super().__init__()
        wide, own_bias = linear.weight.detach().double(), cast("Tensor | None", linear.bias)
        bias = None if own_bias is None else own_bias.detach().double()
        if shift is not None:
            bias = wide @ shift if bias is None else wide @ shift + bias
        self.register_buffer("weight", (wide * scale).to(linear.weight.dtype), persistent=False)
        self.register_buffer("bias", None if bias is None else bias.to(linear.weight.dtype), persistent=False)

    @override
    def out_grid(self, grid: Places) -> Places:
        return grid

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places, blocks: nn.ModuleList
    ) -> Float[Tensor, "batch positions out_dim"]:
        return F.linear(features, self.weight, self.bias)


def _weights(norm: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Give what a norm multiplies by and what it adds, if it adds anything, in float64."""
    if isinstance(norm, LayerNorm):
        return norm.weight.detach().double(), norm.bias.detach().double()
    assert isinstance(norm, RMSNorm), f"{type(norm).__name__} is no norm whose weights are known"
    assert norm.weight is not None, "a norm without weights has none to fold"
    scale = norm.weight.detach().double()
    return scale + 1 if norm.adds_one else scale, None


def _repeat(each: Tensor, merge: Merge) -> Tensor:
    """Give the numbers of the channels of a merged token, from those of a patch."""
    count = merge.rows * merge.cols
    return each.repeat(count) if merge.order == "row_col_channel" else each.repeat_interleave(count)


def _normalise(x: Tensor, norm: nn.Module) -> Tensor:
    """Normalise as `norm` does before it scales, with its rounding."""
    if isinstance(norm, LayerNorm):
        return F.layer_norm(x.to(norm.weight.dtype), norm.normalized_shape, None, None, norm.eps).to(x.dtype)
    assert isinstance(norm, RMSNorm), f"{type(norm).__name__} is no norm whose formula is known"
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.eps)).to(x.dtype)
