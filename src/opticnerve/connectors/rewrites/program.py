"""Which rewrites pay for a connector, and the program that comes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from torch import nn

from opticnerve.connectors.connector import Connector
from opticnerve.connectors.rewrites.absorbed_attention import AbsorbedAttention
from opticnerve.connectors.rewrites.absorbed_qformer import AbsorbedQFormer, CachedTalk
from opticnerve.connectors.rewrites.base import Cost, InOrder, Placed, Rewrite, Step
from opticnerve.connectors.rewrites.cached_queries import CachedQueries
from opticnerve.connectors.rewrites.chunks import Chunks
from opticnerve.connectors.rewrites.composed_attention import ComposedAttention
from opticnerve.connectors.rewrites.early_pool import EarlyPool
from opticnerve.connectors.rewrites.fold_norm import FoldNorm
from opticnerve.connectors.rewrites.fold_peg import FoldPEG
from opticnerve.connectors.rewrites.slice_plan import can_slice, held_values, list_ops
from opticnerve.connectors.rewrites.stages import take_apart
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.grid import Grid, Places

Mode = Literal["train", "inference"]

REWRITES: tuple[Rewrite, ...] = (
    EarlyPool(),
    FoldNorm(),
    FoldPEG(),
    CachedQueries(),
    ComposedAttention(),
    AbsorbedAttention(),
    CachedTalk(),
    AbsorbedQFormer(),
)
"""All rewrites; where several match, the one that saves most is taken."""

_LEAST_GAIN = 1.02
"""Ratio of operations below which a rewrite is left alone, unless it saves memory."""
_LEAST_MEMORY_GAIN = 1.1
"""Ratio of memory from which it pays where it costs no more operations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """A piece of a connector, as it is computed."""

    blocks: tuple[Placed, ...]
    rewrite: Rewrite | None
    """None where the blocks stay as they stand."""
    before: Cost
    after: Cost
    parts: "tuple[Applied, ...]" = ()
    """What a run of slices is made of."""


def plan_rewrites(spec: ConnectorSpec, grid: Grid, *, vision_dim: int, llm_dim: int, mode: Mode) -> tuple[Applied, ...]:
    """Choose the rewrites that the costs say will pay.

    Args:
        spec: the connector.
        grid: where the features lie.
        vision_dim: width of the features.
        llm_dim: width of the LLM's embeddings.
        mode: "train" takes only rewrites whose gradients are equal too.

    Raises:
        GridError: a block cannot take the grid.
    """
    rest = place_blocks(spec, grid, vision_dim=vision_dim, llm_dim=llm_dim)
    allowed = [one for one in REWRITES if mode == "inference" or one.holds_in_training]
    # what saves operations goes first, so that nothing that saves memory takes its blocks
    found = _cover(rest, allowed, _saves_operations)
    found = [piece for one in found for piece in ([one] if one.rewrite else _cover(one.blocks, allowed, _saves_memory))]
    return tuple(_in_slices(found) if mode == "inference" else _singly(found))


def place_blocks(spec: ConnectorSpec, grid: Grid, *, vision_dim: int, llm_dim: int) -> tuple[Placed, ...]:
    """List the blocks of a connector with the width and the places of what enters each."""
    placed: list[Placed] = []
    places: Places = grid
    for index, (block, dim) in enumerate(spec.walk(vision_dim=vision_dim, llm_dim=llm_dim)):
        placed.append(Placed(spec=block, index=index, dim=dim, places=places))
        places = block.out_grid(places)
    return tuple(placed)


def build_steps(applied: Sequence[Applied], modules: nn.ModuleList) -> list[Step]:
    """Make the program."""
    whole = [InOrder(one.blocks) if one.rewrite is None else one.rewrite.build(one.blocks, modules) for one in applied]
    return [step for one in whole for step in take_apart(one)]


def _cover(blocks: Sequence[Placed], rewrites: Sequence[Rewrite], pays: Callable[[Cost, Cost], bool]) -> list[Applied]:
    """Rewrite what pays, from the first block on; blocks that stay lie together between."""
    found: list[Applied] = []
    stay: list[Placed] = []
    rest = list(blocks)
    while rest:
        best = _best(rest, rewrites, pays)
        if best is None:
            stay.append(rest.pop(0))
            continue
        found += [*_plain(stay), best]
        stay, rest = [], rest[len(best.blocks) :]
    return [*found, *_plain(stay)]


def _plain(blocks: Sequence[Placed]) -> list[Applied]:
    cost = Cost.of(blocks)
    return [Applied(blocks=tuple(blocks), rewrite=None, before=cost, after=cost)] if blocks else []


def _singly(found: Sequence[Applied]) -> list[Applied]:
    """Take blocks that stay one by one."""
    pieces = (([one] if one.rewrite else [each for block in one.blocks for each in _plain([block])]) for one in found)
    return [one for piece in pieces for one in piece]


def _best(blocks: Sequence[Placed], rewrites: Sequence[Rewrite], pays: Callable[[Cost, Cost], bool]) -> Applied | None:
    offers: list[Applied] = []
    for rewrite in rewrites:
        if count := rewrite.match(blocks):
            matched = tuple(blocks[:count])
            offers.append(
                Applied(blocks=matched, rewrite=rewrite, before=Cost.of(matched), after=rewrite.cost(matched))
            )
    offers = [offer for offer in offers if pays(offer.before, offer.after)]
    return max(offers, key=_gain, default=None)


def _gain(offer: Applied) -> tuple[int, int]:
    return offer.before.flops - offer.after.flops, offer.before.values - offer.after.values


def _saves_operations(before: Cost, after: Cost) -> bool:
    return before.flops >= _LEAST_GAIN * max(after.flops, 1)


def _saves_memory(before: Cost, after: Cost) -> bool:
    return before.flops >= after.flops and before.values >= _LEAST_MEMORY_GAIN * max(after.values, 1)


def _in_slices(found: Sequence[Applied]) -> list[Applied]:
    """Compute runs slice by slice where that saves memory."""
    pieces: list[Applied] = []
    for can, group in groupby(_singly(found), key=_can_slice):
        run = tuple(group)
        chunked = _chunked(run) if can else None
        pieces += [chunked] if chunked and _saves_memory(chunked.before, chunked.after) else run
    return pieces


def _can_slice(one: Applied) -> bool:
    if one.rewrite is None:
        return can_slice(one.blocks[0].spec)
    return isinstance(one.rewrite, EarlyPool | FoldNorm | FoldPEG)


def _chunked(run: tuple[Applied, ...]) -> Applied:
    """Put a run of pieces into slices."""
    blocks = tuple(block for one in run for block in one.blocks)
    computed = [(_as_computed(one), isinstance(one.rewrite, FoldNorm | FoldPEG)) for one in run]
    rewrite = Chunks(list_ops(computed), lambda modules: build_steps(run, modules))
    before = Cost(flops=sum(one.before.flops for one in run), values=held_values(blocks))
    return Applied(blocks=blocks, rewrite=rewrite, before=before, after=rewrite.cost(blocks), parts=run)


def _as_computed(one: Applied) -> tuple[Placed, ...]:
    return one.rewrite.swapped(one.blocks) if isinstance(one.rewrite, EarlyPool) else one.blocks


def optimize(connector: Connector, *, mode: Mode, grid: Grid) -> Connector:
    """Return the same connector, computed as the rewrites have it. Parameters are shared."""
    applied = plan_rewrites(connector.spec, grid, vision_dim=connector.vision_dim, llm_dim=connector.llm_dim, mode=mode)
    if not any(one.rewrite for one in applied):
        return connector.with_program(())
    return connector.with_program(build_steps(applied, connector.blocks))
