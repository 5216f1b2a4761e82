"""One connector, several budgets: the same weights asked for more or fewer visual tokens."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from opticnerve.connectors.blocks import AdaptivePool, BlockSpec, Pool, Resampler
from opticnerve.connectors.blocks.reduction import Reduce
from opticnerve.connectors.connector import Connector
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.errors import GridError, SpecError
from opticnerve.grid import Grid, Places

_MOST_SHOWN = 8
"""Budgets that an error lists."""


def with_budget(spec: ConnectorSpec, *, num_tokens: int, grid: Grid) -> ConnectorSpec:
    """Return the same connector with another number of visual tokens, for the same weights.

    What may change is the factor of a pool, the grid of an adaptive one, the reduction of a selection, and how many of
    its queries a resampler uses. How well the answers are that follow is another question: ask those who trained it at
    several budgets.

    >>> from opticnerve import Grid, methods
    >>> with_budget(methods.pool(factor=2), num_tokens=16, grid=Grid(16, 16)) == methods.pool(factor=4)
    True

    Args:
        spec: the connector as it is.
        num_tokens: visual tokens wanted of an image, or a tile, whose features lie on `grid`.
        grid: where they lie.

    Raises:
        SpecError: the connector cannot give so many with the same weights.
        GridError: it cannot take the grid.
    """
    found = {spec.num_tokens(grid): spec}
    for other in _others(spec, grid):
        found.setdefault(other.num_tokens(grid), other)
    if num_tokens in found:
        return found[num_tokens]
    if len(found) == 1:
        raise SpecError(
            f'"{spec.name}" gives {next(iter(found))} visual tokens on a {grid} grid and, with the same weights, no'
            f" other number, so not {num_tokens}: take a pool, a selection or a resampler"
        )
    near = sorted(sorted(found, key=lambda one: abs(one - num_tokens))[:_MOST_SHOWN])
    raise SpecError(
        f'"{spec.name}" cannot give {num_tokens} visual tokens on a {grid} grid with the same weights; the nearest that'
        f" it can: {', '.join(map(str, near))}"
    )


def with_spec(connector: Connector, spec: ConnectorSpec) -> Connector:
    """Return a connector of another spec with the weights of this one: the same tensors, not copies.

    Args:
        connector: whose weights.
        spec: with options that leave the weights as they are.

    Raises:
        SpecError: the spec needs other weights.
    """
    with torch.random.fork_rng(devices=[]):  # weights are drawn, and thrown away
        other = spec.build(vision_dim=connector.vision_dim, llm_dim=connector.llm_dim)
    if _shapes(connector) != _shapes(other):
        raise SpecError(
            f'these options of "{spec.name}" need other weights than the connector has: only options without weights'
            " may differ, such as the factor of a pool, a reduction, or num_used of a resampler"
        )
    share_weights(connector, other)
    return other.train(connector.training)


def share_weights(connector: Connector, other: Connector) -> None:
    """Give a connector the weights of another one: the same tensors, not copies.

    Args:
        connector: whose weights.
        other: with as many of the same shapes; changed in place.
    """
    opened = [parameter.requires_grad for parameter in connector.parameters()]
    other.load_state_dict(connector.state_dict(keep_vars=True), assign=True)
    for parameter, is_open in zip(connector.parameters(), opened, strict=True):
        parameter.requires_grad_(is_open)  # assigning opens what it assigns


def _others(spec: ConnectorSpec, grid: Grid) -> Iterator[ConnectorSpec]:
    """Give the connector with one block changed, wherever that leaves the weights as they are."""
    places: Places = grid
    for index, block in enumerate(spec.blocks):
        for other in _variants(block, places):
            changed = replace(spec, blocks=(*spec.blocks[:index], other, *spec.blocks[index + 1 :]))
            try:
                changed.num_tokens(grid)
            except GridError:
                continue
            yield changed
        places = block.out_grid(places)


def _variants(block: BlockSpec, places: Places) -> Iterator[BlockSpec]:
    if isinstance(block, Resampler):
        whole = replace(block, num_used=0)
        yield whole
        yield from (replace(block, num_used=count) for count in range(1, whole.num_learned))
    elif isinstance(block, Reduce):
        yield from (replace(block, reduction=reduction) for reduction in range(1, places.size + 1))
    elif isinstance(block, Pool | AdaptivePool) and isinstance(places, Grid):
        for factor in range(1, max(places.rows, places.cols) + 1):
            if isinstance(block, Pool):
                yield replace(block, factor=factor)
            else:
                yield replace(block, rows=-(-places.rows // factor), cols=-(-places.cols // factor))


def _shapes(connector: Connector) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in connector.state_dict().items()}
