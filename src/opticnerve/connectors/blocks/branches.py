"""Branches: several short connectors side by side, joined into one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, cast

import torch
from jaxtyping import Float
from pydantic import BeforeValidator
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.connectors.blocks.nested import read_blocks
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Grid, Places, Queries

Branch = tuple[BlockSpec, ...]
Join = Literal["channels", "tokens", "sum"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Branches(BlockSpec):
    """Apply several lists of blocks, and join what comes out.

    With `reads="split"` the channels are cut into as many equal parts as there are branches, one part each: so the
    layers of an encoder that lie side by side (`num_levels`) each get blocks of their own. DeepStack is that with
    `join="channels"`: the first part of each token is the visual token, and every further part is added to the token's
    hidden state in one of the LLM's layers. An empty branch gives back what it reads, so a residual is a branch too.

    Source: Meng et al., "DeepStack", 2024, and Qwen3VLVisionPatchMerger (transformers); DeepseekVLHybridAligner.
    """

    kind: ClassVar[str] = "branches"

    branches: Annotated[tuple[Branch, ...], BeforeValidator(read_blocks)]
    """Blocks of each branch, applied first to last."""
    reads: Literal["all", "split"] = "all"
    """Whether each branch reads all channels, or its own equal part of them."""
    join: Join = "channels"
    """Side by side on the channels, one after another as tokens, or added up."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if len(self.branches) < 2:
            raise SpecError(f"branches are two or more lists of blocks, got {len(self.branches)}")

    @override
    def resolve(self, *, in_dim: int, vision_dim: int, llm_dim: int) -> "Branches":
        branches: list[Branch] = []
        for branch in self.branches:
            dim, own = self.branch_dim(in_dim), list[BlockSpec]()
            for block in branch:
                own.append(block.resolve(in_dim=dim, vision_dim=vision_dim, llm_dim=llm_dim))
                dim = own[-1].out_dim(dim)
            branches.append(tuple(own))
        return replace(self, branches=tuple(branches))

    def branch_dim(self, dim: int) -> int:
        """Say how many channels each branch reads.

        Raises:
            SpecError: the channels cannot be cut into equal parts.
        """
        if self.reads == "all":
            return dim
        if dim % len(self.branches):
            raise SpecError(f"{dim} channels cannot be cut into {len(self.branches)} equal parts, one for each branch")
        return dim // len(self.branches)

    @override
    def out_grid(self, grid: Places) -> Places:
        places = [_walk(branch, grid) for branch in self.branches]
        if self.join == "tokens":
            return Queries(sum(place.size for place in places))
        if len({place.size for place in places}) > 1:
            listed = ", ".join(map(str, places))
            raise GridError(f"branches that are joined by {self.join} must give as many tokens each, got {listed}")
        return next((place for place in places if isinstance(place, Grid)), places[0])

    @override
    def out_dim(self, dim: int) -> int:
        dims = [out for out, _ in self._ends(dim)]
        if self.join == "channels":
            return sum(dims)
        if len(set(dims)) > 1:
            raise SpecError(f"branches that are joined by {self.join} must be equally wide, got {dims}")
        return dims[0]

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return sum(block.flops(where, wide) for block, where, wide in self._steps(grid, dim))

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        done = grid.size * dim + sum(_walk(own, grid).size * out for out, own in self._ends(dim))
        steps = self._steps(grid, dim)
        return done + max((block.activation_values(where, wide) for block, where, wide in steps), default=0)

    @override
    def build(self, dim: int) -> "BranchesBlock":
        return BranchesBlock(self, dim)

    def _ends(self, dim: int) -> Iterator[tuple[int, Branch]]:
        for branch in self.branches:
            out = self.branch_dim(dim)
            for block in branch:
                out = block.out_dim(out)
            yield out, branch

    def _steps(self, grid: Places, dim: int) -> Iterator[tuple[BlockSpec, Places, int]]:
        for branch in self.branches:
            where, wide = grid, self.branch_dim(dim)
            for block in branch:
                yield block, where, wide
                where, wide = block.out_grid(where), block.out_dim(wide)


class BranchesBlock(Block):
    """Applies `Branches`."""

    def __init__(self, spec: Branches, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.branches = nn.ModuleList()
        for branch in spec.branches:
            wide, modules = spec.branch_dim(dim), nn.ModuleList()
            for block in branch:
                modules.append(block.build(wide))
                wide = block.out_dim(wide)
            self.branches.append(modules)

    @override
    def forward(self, features: Float[Tensor, "batch positions dim"], grid: Places) -> Float[Tensor, "batch out wide"]:
        spec = self.spec
        spec.out_grid(grid)
        num = len(spec.branches)
        inputs = features.chunk(num, dim=-1) if spec.reads == "split" else (features,) * num
        outs: list[Tensor] = []
        for branch, modules, part in zip(spec.branches, self.branches, inputs, strict=True):
            places: Places = grid
            own: Tensor = part
            for block, module in zip(branch, cast("Iterable[Block]", modules), strict=True):
                own = module(own, places)
                places = block.out_grid(places)
            outs.append(own)
        if spec.join == "sum":
            return torch.stack(outs).sum(0)
        return torch.cat(outs, dim=-1 if spec.join == "channels" else 1)


def _walk(branch: Branch, grid: Places) -> Places:
    for block in branch:
        grid = block.out_grid(grid)
    return grid
