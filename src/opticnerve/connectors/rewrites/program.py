"""Which rewrites pay for a connector, and the program that comes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from opticnerve.connectors.connector import Connector
from opticnerve.connectors.rewrites.base import Cost, InOrder, Placed, Rewrite, Step
from opticnerve.connectors.rewrites.early_pool import EarlyPool
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.grid import Grid, Places

Mode = Literal["train", "inference"]

REWRITES: tuple[Rewrite, ...] = (EarlyPool(),)
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
    rest = list(place_blocks(spec, grid, vision_dim=vision_dim, llm_dim=llm_dim))
    allowed = [one for one in REWRITES if mode == "inference" or one.holds_in_training]
    found: list[Applied] = []
    while rest:
        best = _best(rest, allowed)
        if best is None:
            cost = Cost.of(rest[:1])
            best = Applied(blocks=(rest[0],), rewrite=None, before=cost, after=cost)
        found.append(best)
        rest = rest[len(best.blocks) :]
    return tuple(found)


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
    return [
        InOrder(one.blocks) if one.rewrite is None else one.rewrite.build(one.blocks, modules) for one in applied
    ]


def _best(blocks: Sequence[Placed], rewrites: Sequence[Rewrite]) -> Applied | None:
    offers: list[Applied] = []
    for rewrite in rewrites:
        if count := rewrite.match(blocks):
            matched = tuple(blocks[:count])
            offers.append(
                Applied(blocks=matched, rewrite=rewrite, before=Cost.of(matched), after=rewrite.cost(matched))
            )
    offers = [offer for offer in offers if _pays(offer)]
    return max(offers, key=lambda offer: offer.before.flops - offer.after.flops, default=None)


def _pays(offer: Applied) -> bool:
    before, after = offer.before, offer.after
    if before.flops >= _LEAST_GAIN * max(after.flops, 1):
        return True
    return before.flops >= after.flops and before.values >= _LEAST_MEMORY_GAIN * max(after.values, 1)


def optimize(connector: Connector, *, mode: Mode, grid: Grid) -> Connector:
    """Return the same connector, computed as the rewrites have it. Parameters are shared."""
    applied = plan_rewrites(
        connector.spec, grid, vision_dim=connector.vision_dim, llm_dim=connector.llm_dim, mode=mode
    )
    return connector.with_program(build_steps(applied, connector.blocks))
