"""A resampler and the blocks around it: what all rewrites of resamplers share."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from einops import rearrange
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks import Linear, Norm, Resampler
from opticnerve.connectors.blocks.linear import LinearBlock
from opticnerve.connectors.blocks.norm import LayerNorm, NormBlock
from opticnerve.connectors.blocks.resampler import ResamplerBlock
from opticnerve.connectors.rewrites.base import Placed, Step
from opticnerve.connectors.rewrites.through_norm import Affine, InverseStd, ThroughNorm, hold, variance_flops, wide
from opticnerve.grid import Grid, Places

_WIDEST = 1024
"""Channels of keys that are made together: enough for the full rate of matrix products."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """A resampler, with a Linear and a norm before it and a norm and a Linear behind it, where they stand there."""

    front: tuple[Placed, Placed] | None
    """A Linear without bias and a layer norm."""
    core: Placed
    """The resampler."""
    tail: tuple[Placed, Placed] | None
    """A layer norm and a Linear."""

    @property
    def spec(self) -> Resampler:
        """The resampler's."""
        return cast("Resampler", self.core.spec)

    @property
    def count(self) -> int:
        """How many blocks these are."""
        return 1 + 2 * (self.front is not None) + 2 * (self.tail is not None)

    @property
    def grid(self) -> Grid:
        """Where the keys lie."""
        return cast("Grid", self.core.places)

    @property
    def in_dim(self) -> int:
        """Channels that enter the first block."""
        return self.core.dim if self.front is None else self.front[0].dim

    @property
    def num_heads(self) -> int:
        """Heads of the resampler."""
        return self.spec.num_heads(self.core.dim)

    @property
    def group(self) -> int:
        """Heads whose keys and values are made together."""
        return together(self.num_heads, each=self.core.dim // self.num_heads, most=_WIDEST)

    @property
    def scale_flops(self) -> int:
        """Operations of the front norm's deviation."""
        if self.front is None:
            return 0
        return variance_flops(tokens=self.grid.size, in_dim=self.in_dim, width=self.core.dim, has_bias=False)

    @property
    def finish_flops(self) -> int:
        """Operations of all that follows the mean of values."""
        queries, dim = self.spec.num_queries, self.core.dim
        if self.tail is None:
            return 2 * queries * dim * dim
        variance = variance_flops(tokens=queries, in_dim=dim, width=dim, has_bias=True)
        return variance + 2 * queries * dim * self.tail[1].out_dim

    @property
    def scaled_values(self) -> int:
        """Numbers of the features, and of the scaled ones where there is a norm in front."""
        return self.grid.size * self.in_dim * (1 if self.front is None else 2)

    @property
    def finish_values(self) -> int:
        """Numbers of the mean of values, and of what is made of it."""
        out = self.core.dim if self.tail is None else 2 * self.tail[1].out_dim
        return self.spec.num_queries * (2 * self.core.dim + out)


def find_look(blocks: Sequence[Placed], *, has_front: bool) -> Look | None:
    """Find a resampler at the beginning of `blocks`.

    Args:
        blocks: of a connector.
        has_front: whether a Linear without bias and a layer norm must stand before it; otherwise it stands first.
    """
    front: tuple[Placed, Placed] | None = None
    if has_front:
        if len(blocks) < 3 or not _is_plain(blocks[0]) or not _is_layer_norm(blocks[1]):
            return None
        front, blocks = (blocks[0], blocks[1]), blocks[2:]
    if not blocks or not isinstance(blocks[0].spec, Resampler):
        return None
    has_tail = len(blocks) > 2 and _is_layer_norm(blocks[1]) and isinstance(blocks[2].spec, Linear)
    return Look(front=front, core=blocks[0], tail=(blocks[1], blocks[2]) if has_tail else None)


def _is_plain(block: Placed) -> bool:
    return isinstance(block.spec, Linear) and not block.spec.has_bias


def _is_layer_norm(block: Placed) -> bool:
    return isinstance(block.spec, Norm) and block.spec.norm == "layer"


class LookStep(Step):
    """Features, scaled by the front norm where there is one; a mean of values for each query; the way out."""

    out_bias: Float[Tensor, " dim"]

    def __init__(self, look: Look, modules: nn.ModuleList) -> None:
        super().__init__()
        self.index = look.core.index
        self.spec = look.spec
        self.inverse_std: InverseStd | None = None
        self.tail: ThroughNorm | None = None
        block = resampler(modules, self.index)
        like = block.queries
        first, norm = front_of(look, modules)
        if first is not None and norm is not None:
            self.inverse_std = InverseStd(first, eps=norm.eps, like=like)
        value, out = Affine.of(block.attention.value), Affine.of(block.attention.out)
        constant = value.bias if norm is None else value.weight @ wide(norm.bias) + value.bias
        # weights of attention add up to 1, so what is added to all values is added to their mean
        bias = out.weight @ constant + out.bias
        if look.tail is None:
            hold(self, "out_bias", bias, like=like)
            return
        last_norm = cast("NormBlock", modules[look.tail[0].index]).norm
        last = Affine.of(cast("LinearBlock", modules[look.tail[1].index]).linear)
        self.tail = ThroughNorm(Affine(weight=out.weight, bias=bias), last_norm, last, like=like)

    @override
    def out_grid(self, grid: Places) -> Places:
        return self.spec.out_grid(grid)

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places, blocks: nn.ModuleList
    ) -> Float[Tensor, "batch out_positions out_dim"]:
        block = resampler(blocks, self.index)
        scaled = features
        if self.inverse_std is not None:
            scaled = (features * self.inverse_std(features)).to(features.dtype)
        mixed = self.mean_of_values(scaled, grid.spatial("resample by position"), block)
        if self.tail is not None:
            return self.tail(mixed)
        return F.linear(mixed, block.attention.out.weight, self.out_bias)

    @abstractmethod
    def mean_of_values(
        self, features: Float[Tensor, "batch positions dim"], grid: Grid, block: ResamplerBlock
    ) -> Float[Tensor, "batch queries width"]:
        """Let the queries look, without what is added to all values.

        Args:
            features: scaled, where a norm stands in front.
            grid: where they lie.
            block: the resampler.
        """


def resampler(modules: nn.ModuleList, index: int) -> ResamplerBlock:
    """Return a connector's resampler."""
    return cast("ResamplerBlock", modules[index])


def front_of(look: Look, modules: nn.ModuleList) -> tuple[Affine, LayerNorm] | tuple[None, None]:
    """Return the Linear and the norm in front, or two times None."""
    if look.front is None:
        return None, None
    linear = cast("LinearBlock", modules[look.front[0].index]).linear
    return Affine.of(linear), cast("LayerNorm", cast("NormBlock", modules[look.front[1].index]).norm)


def projected_queries(block: ResamplerBlock) -> Float64[Tensor, "heads queries head_dim"]:
    """Project the queries that are used, which no image changes, to the heads."""
    norm, queries = cast("LayerNorm", block.query_norm), wide(block.select(block.queries))
    normed = F.layer_norm(queries, queries.shape[-1:], wide(norm.weight), wide(norm.bias), norm.eps)
    if block.spec.has_query_positions:
        normed = normed + wide(block.select(block.table))
    query = Affine.of(block.attention.query)
    projected = F.linear(normed, query.weight, query.bias)
    return rearrange(projected, "q (h c) -> h q c", h=block.attention.num_heads)


def together(heads: int, *, each: int, most: int) -> int:
    """Say how many heads to take at a time, in equal groups; at least one.

    Args:
        heads: all of them.
        each: what one head is wide.
        most: what a group may be wide.
    """
    return max(group for group in range(1, heads + 1) if heads % group == 0 and (group == 1 or group * each <= most))
