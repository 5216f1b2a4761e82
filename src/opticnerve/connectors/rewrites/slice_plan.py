"""Which operations of a run are computed slice by slice, so that the least is alive at once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from opticnerve.connectors.blocks import (
    GLU,
    PEG,
    Activation,
    AdaptivePool,
    BlockSpec,
    Downsample,
    FitWidth,
    Linear,
    Merge,
    Norm,
    Pool,
    Scale,
    Standardise,
)
from opticnerve.connectors.rewrites.base import Placed

_TOKEN_WISE = (Activation, FitWidth, GLU, Linear, Norm, Scale, Standardise)
"""Blocks that compute every token from itself alone."""
_IMAGE_WISE = (AdaptivePool, Downsample, Merge, PEG, Pool)
"""Blocks that compute every image from itself alone, and mix its tokens."""
_MAKES_NEW = (AdaptivePool, Downsample, GLU, Linear, Norm, PEG, Pool)
"""Blocks whose output never shares memory with their input."""

TOKENS = 512
"""Least tokens of a slice on a CPU: with 256, matrix products of 2048 channels and more took 10 % longer."""
PLANNED_BATCH = 8
"""Images of the batch that slices are planned for. Fewer are computed at once where slices would be too small."""


def can_slice(spec: BlockSpec) -> bool:
    """Say whether a block can be computed for a part of the batch at a time, and is known not to hold on to it."""
    return isinstance(spec, (*_TOKEN_WISE, *_IMAGE_WISE))


@dataclass(frozen=True, kw_only=True, slots=True)
class Op:
    """A block as it is computed, and where it stands then."""

    block: Placed
    is_folded: bool
    """Whether a norm or a PEG is computed without its scale or its residual, which needs one tensor less."""
    is_own: bool
    """Whether the input is made here and read here only, so that it can be written over."""

    @property
    def overwrites(self) -> bool:
        """Whether the output takes the input's place."""
        return self.is_own and isinstance(self.block.spec, Activation)

    @property
    def in_values(self) -> int:
        """Numbers that come in, for one image."""
        return self.block.places.size * self.block.dim

    @property
    def out_values(self) -> int:
        """Numbers that come out, for one image."""
        return self.block.out_places.size * self.block.out_dim

    @property
    def values(self) -> int:
        """Numbers alive at the widest point, input included, for one image."""
        if self.overwrites:
            return self.in_values * (2 if cast("Activation", self.block.spec).function == "quick_gelu" else 1)
        if self.is_folded and isinstance(self.block.spec, Norm | PEG):
            return 2 * self.in_values
        return self.block.values


def list_ops(pieces: Sequence[tuple[Sequence[Placed], bool]]) -> tuple[Op, ...]:
    """List what is computed, in order.

    Args:
        pieces: blocks, each with where it stands when it is computed, and whether a fold has changed them.
    """
    ops: list[Op] = []
    is_own = False
    for blocks, is_folded in pieces:
        for block in blocks:
            ops.append(Op(block=block, is_folded=is_folded, is_own=is_own))
            makes_new = isinstance(block.spec, _MAKES_NEW)
            is_own = is_own or makes_new or (isinstance(block.spec, FitWidth) and block.spec.has_weights)
    return tuple(ops)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Operations that follow one another, computed together for each slice."""

    first: int
    last: int
    """The first one that is no longer of the part."""
    is_sliced: bool
    is_token_wise: bool
    """Whether slices are of tokens, over the whole batch; otherwise of images."""
    products: tuple[int, ...]
    """Which of its operations are matrix products: a slice must give each of them enough tokens."""


def held_values(blocks: Sequence[Placed]) -> int:
    """Count the numbers alive at the widest of some blocks, for one image, as they stand.

    Args:
        blocks: one after another; the input of the first is held to the end, since the caller has it.
    """
    held = blocks[0].places.size * blocks[0].dim
    return max(block.values + (held if index else 0) for index, block in enumerate(blocks))


def plan_slices(ops: Sequence[Op]) -> tuple[tuple[Part, ...], int]:
    """Cut a run into parts so that the least is alive at once, then with as few slices as that allows.

    Args:
        ops: what is computed, in order.

    Returns:
        The parts, and the numbers alive at the widest point, for one image of the batch that is planned for.
    """
    least, _ = _cut(ops, lambda part: (_alive(ops, part), 0))
    limit = least[0] * 21 // 20
    _, parts = _cut(ops, lambda part: (0 if _alive(ops, part) <= limit else 1, _sliced_flops(ops, part)))
    return parts, -(-max(_alive(ops, part) for part in parts) // PLANNED_BATCH)


def _cut(ops: Sequence[Op], price: Callable[[Part], tuple[int, int]]) -> tuple[tuple[int, int], tuple[Part, ...]]:
    """Find the cut of the lowest price: the highest first number of a part, then the sum of the second ones."""
    best: list[tuple[tuple[int, int], tuple[Part, ...]]] = [((0, 0), ())]
    for last in range(1, len(ops) + 1):
        offers: list[tuple[tuple[int, int], tuple[Part, ...]]] = []
        for first in range(last):
            (highest, total), before = best[first]
            for part in _parts(ops, first, last):
                mine = price(part)
                offers.append(((max(highest, mine[0]), total + mine[1]), (*before, part)))
        best.append(min(offers, key=lambda offer: (*offer[0], len(offer[1]))))
    return best[-1]


def _parts(ops: Sequence[Op], first: int, last: int) -> Iterator[Part]:
    """List the ways to compute some operations together: alone and at once, or in slices."""
    inside = ops[first:last]
    is_token_wise = all(isinstance(op.block.spec, _TOKEN_WISE) for op in inside)
    products = tuple(
        index for index in range(first, last) if isinstance(ops[index].block.spec, Linear | FitWidth | GLU)
    )
    if last - first == 1:
        yield Part(first=first, last=last, is_sliced=False, is_token_wise=is_token_wise, products=products)
    sliced = Part(first=first, last=last, is_sliced=True, is_token_wise=is_token_wise, products=products)
    if _share(ops, sliced) < 1:
        yield sliced


def _share(ops: Sequence[Op], part: Part) -> float:
    """Return which share of the planned batch a slice is."""
    if part.is_token_wise:
        total = PLANNED_BATCH * ops[part.first].block.places.size
        return 1 / max(1, total // TOKENS)
    fewest = min((ops[index].block.places.size for index in part.products), default=TOKENS)
    return images_of(fewest, TOKENS) / PLANNED_BATCH


def images_of(tokens: int, least: int) -> int:
    """Count the images of a slice that gives every matrix product at least so many tokens."""
    return max(1, -(-least // tokens))


def _alive(ops: Sequence[Op], part: Part) -> int:
    """Count the numbers alive at the widest point of a part, for the planned batch."""
    held = PLANNED_BATCH * ops[0].in_values if part.first else 0
    first = ops[part.first]
    if not part.is_sliced:
        return held + PLANNED_BATCH * first.values
    inside = [first.values - first.in_values, *(op.values for op in ops[part.first + 1 : part.last])]
    ends = first.in_values + ops[part.last - 1].out_values
    return held + PLANNED_BATCH * ends + int(PLANNED_BATCH * max(inside) * _share(ops, part))


def _sliced_flops(ops: Sequence[Op], part: Part) -> int:
    """Count the operations that are computed in slices, which costs them a little of their speed."""
    return sum(op.block.flops for op in ops[part.first : part.last]) if part.is_sliced else 0
