"""What each visual token of a scene shows, in classes: the labels of dense alignment."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from opticnerve.data.reading.scene import CANVAS_PX, Item
from opticnerve.encoders.bundled.probe import ALPHABET, COLORS, KINDS

MAX_CODE: int = 5
"""Characters of the longest code."""

LABELS: tuple[str, ...] = (
    *(f"character {place + 1}" for place in range(MAX_CODE)),
    "kind",
    "color",
    "second kind",
    "second color",
    "value",
)
"""What is said of a cell: the characters, kind and colour of the thing that fills most of it, kind and colour of the
one that fills it second most, and the steps of a bar."""

NUM_CLASSES: tuple[int, ...] = (
    *[len(ALPHABET) + 1] * MAX_CODE,
    *[len(KINDS) + 1, len(COLORS) + 1] * 2,
    10,
)
"""Classes of each label; class 0 is "nothing"."""

_KIND, _VALUE = MAX_CODE, len(LABELS) - 1
_CODES = {symbol: index + 1 for symbol, index in zip(ALPHABET, range(len(ALPHABET)), strict=True)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Symbols:
    """Labels of the cells of a map over a scene, row by row."""

    classes: Int[Tensor, "cells labels"]
    """One column for each of `LABELS`."""
    boxes: Float[Tensor, "cells 4"]
    """Middle x, middle y, width, height of the thing that fills most of the cell, as shares of the scene; 0 if none."""


def item_table(items: Sequence[Item]) -> Float[Tensor, "items 12"]:
    """Write things as numbers, which travel in a batch.

    Args:
        items: the scene's.

    Returns:
        Left, top, right, bottom as shares of the scene; classes of the characters, of kind and of colour; steps.
    """
    rows = [
        [
            *(side / CANVAS_PX for side in item.box),
            *(_CODES[symbol] for symbol in item.text),
            *[0] * (MAX_CODE - len(item.text)),
            1 + KINDS.index(item.kind),
            1 + list(COLORS).index(item.color),
            item.value,
        ]
        for item in items
    ]
    return torch.tensor(rows, dtype=torch.float32).view(-1, MAX_CODE + 7)


def label_cells(table: Float[Tensor, "items 12"], *, rows: int, cols: int) -> Symbols:
    """Label the cells of a map.

    A thing counts in a cell if it covers a sixth of itself or of the cell there.

    Args:
        table: what `item_table` returns.
        rows: of the map.
        cols: of the map.
    """
    table = torch.cat([table, torch.zeros(2, table.shape[1])])  # no cell has fewer than two candidates
    left, top, right, bottom = table[:, :4].unbind(1)
    down = _shared(top, bottom, parts=rows)
    across = _shared(left, right, parts=cols)
    area = torch.einsum("ir,ic->irc", down, across).flatten(1)
    enough = ((right - left) * (bottom - top)).clamp(max=1 / (rows * cols)) / 6
    covered = torch.where(area >= enough[:, None], area, 0.0)
    shares, order = covered.sort(dim=0, descending=True, stable=True)
    first, second = (table[order[rank]] * (shares[rank] > 0)[:, None] for rank in (0, 1))
    said = [first[:, 4 : 4 + _KIND + 2], second[:, 4 + _KIND : 4 + _KIND + 2], first[:, -1:]]
    boxes = torch.stack(
        [
            (first[:, 0] + first[:, 2]) / 2,
            (first[:, 1] + first[:, 3]) / 2,
            first[:, 2] - first[:, 0],
            first[:, 3] - first[:, 1],
        ],
        dim=1,
    )
    return Symbols(classes=torch.cat(said, dim=1).long(), boxes=boxes)


def _shared(low: Tensor, high: Tensor, *, parts: int) -> Float[Tensor, "items parts"]:
    """Measure how much of each of the equal parts of [0, 1] an interval covers."""
    edges = torch.arange(parts + 1) / parts
    return (torch.minimum(high[:, None], edges[1:]) - torch.maximum(low[:, None], edges[:-1])).clamp(min=0)
