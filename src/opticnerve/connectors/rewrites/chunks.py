"""Runs of blocks slice by slice, so that what is wide between them is never held for the whole batch."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks import Activation
from opticnerve.connectors.blocks.linear import ActivationKind
from opticnerve.connectors.rewrites.base import Cost, Placed, Rewrite, Step
from opticnerve.connectors.rewrites.slice_plan import TOKENS, Op, Part, images_of, plan_slices
from opticnerve.grid import Places

_DEVICE_TOKENS = 8192
"""Least tokens of a slice on an accelerator, which needs more to be busy."""


class Chunks(Rewrite):
    """A run of blocks, slice by slice, each operation in the place of the last where it can be."""

    name: ClassVar[str] = "chunks"
    why: ClassVar[str] = "no token, or no image, is computed from another one, so a slice of them can go first"
    holds_in_training: ClassVar[bool] = False

    def __init__(self, ops: Sequence[Op], steps: Callable[[nn.ModuleList], Sequence[Step]]) -> None:
        """Plan the slices.

        Args:
            ops: what is computed, in order.
            steps: makes their steps, one each.
        """
        self.ops = tuple(ops)
        self.steps = steps
        self.parts, self.values = plan_slices(self.ops)

    @override
    def match(self, blocks: Sequence[Placed]) -> int:
        mine = sorted(op.block.index for op in self.ops)
        return len(mine) if [block.index for block in blocks[: len(mine)]] == mine else 0

    @override
    def cost(self, blocks: Sequence[Placed]) -> Cost:
        return Cost(flops=sum(op.block.flops for op in self.ops), values=self.values)

    @override
    def build(self, blocks: Sequence[Placed], modules: nn.ModuleList) -> Step:
        return Chunked(self.ops, self.parts, self.steps(modules))


class Chunked(Step):
    """Steps that are computed slice by slice.

    With gradients, and where a compiler traces, the steps run one after another on the whole batch: autograd would keep
    what the slices save, and compilers fuse and free by themselves.
    """

    def __init__(self, ops: Sequence[Op], parts: Sequence[Part], steps: Sequence[Step]) -> None:
        super().__init__()
        assert len(ops) == len(steps), f"{len(ops)} operations need as many steps, not {len(steps)}"
        self.steps = nn.ModuleList(steps)
        self.parts = tuple(parts)
        self.functions: tuple[ActivationKind | None, ...] = tuple(
            cast("Activation", op.block.spec).function if op.overwrites else None for op in ops
        )

    @override
    def out_grid(self, grid: Places) -> Places:
        return self._grids(grid)[-1]

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places, blocks: nn.ModuleList
    ) -> Float[Tensor, "batch out_positions out_dim"]:
        grids = self._grids(grid)
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            for step, where in zip(self.steps, grids, strict=False):
                features = step(features, where, blocks)
            return features
        for part in self.parts:
            if (count := self._count(part, features, grids)) > 1:
                features = self._in_slices(part, features, grids, blocks, count)
                continue
            for index in range(part.first, part.last):
                features = self._one(index, features, grids, blocks)
        return features

    def _grids(self, grid: Places) -> list[Places]:
        """List where the input of each step lies, and the last output."""
        grids = [grid]
        for step in self.steps:
            grids.append(cast("Step", step).out_grid(grids[-1]))
        return grids

    def _one(self, index: int, features: Tensor, grids: Sequence[Places], blocks: nn.ModuleList) -> Tensor:
        function = self.functions[index]
        if function is not None:
            return activate_in_place(features, function)
        return self.steps[index](features, grids[index], blocks)

    def _count(self, part: Part, features: Tensor, grids: Sequence[Places]) -> int:
        """Say into how many slices a part goes; 1 for none."""
        if not part.is_sliced:
            return 1
        least = TOKENS if features.device.type == "cpu" else _DEVICE_TOKENS
        batch, positions = features.shape[:2]
        if part.is_token_wise:
            return max(1, batch * positions // least)
        fewest = min((grids[index].size for index in part.products), default=least)
        return max(1, batch // images_of(fewest, least))

    def _in_slices(
        self, part: Part, features: Tensor, grids: Sequence[Places], blocks: nn.ModuleList, count: int
    ) -> Tensor:
        """Compute a part in slices of about equal size, each written into its place in the output."""
        batch = features.shape[0]
        axis = 1 if part.is_token_wise else 0
        whole = features.reshape(1, -1, features.shape[-1]) if part.is_token_wise else features
        total = whole.shape[axis]
        out: Tensor | None = None
        for start, end in pairwise(index * total // count for index in range(count + 1)):
            piece = whole.narrow(axis, start, end - start)
            for index in range(part.first, part.last):
                piece = self._one(index, piece, grids, blocks)
            if out is None:
                shape = list(piece.shape)
                shape[axis] = total
                out = piece.new_empty(shape)
            out.narrow(axis, start, end - start).copy_(piece)
            del piece
        assert out is not None, "there are at least two slices"
        return out.reshape(batch, -1, out.shape[-1])


def activate_in_place(x: Float[Tensor, "*any"], function: ActivationKind) -> Float[Tensor, "*any"]:
    """Apply a nonlinearity and write the result over its input, with the numbers of `activate`.

    Args:
        x: a tensor that nothing else reads; changed.
        function: the nonlinearity.
    """
    match function:
        case "gelu":
            return torch.ops.aten.gelu_(x)
        case "gelu_tanh":
            return torch.ops.aten.gelu_(x, approximate="tanh")
        case "quick_gelu":
            return x.mul_((1.702 * x).sigmoid_())
        case "relu":
            return x.relu_()
        case "relu_squared":
            return x.relu_().square_()
        case "silu":
            return F.silu(x, inplace=True)
        case "hardswish":
            return F.hardswish(x, inplace=True)
