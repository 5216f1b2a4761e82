"""Which questions each cell of the arena answered right, as a table."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One answered question."""

    cell: str
    """Name of the cell: a method at a reduction, resolution and tiling."""
    seed: int
    """Of the training."""
    image: str
    """Names what was looked at."""
    kind: str
    """Of the question."""
    glyph_px: float | None
    """Height of the type that must be read; None where none must."""
    is_right: bool
    """Whether the answer matches."""


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Answered))
"""Of a table, in the order of its files."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AnswerTable:
    """Many answered questions, one a row; all columns have the same length."""

    cell: NDArray[Any]
    """Names of the cells."""
    seed: NDArray[np.int64]
    """Of the training."""
    image: NDArray[Any]
    """What was looked at."""
    kind: NDArray[Any]
    """Of the question."""
    glyph_px: NDArray[np.float64]
    """Height of the type that must be read; NaN where none must."""
    is_right: NDArray[np.bool_]
    """Whether the answer matches."""

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.cell)

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells, in order of first use."""
        return tuple(dict.fromkeys(self.cell.tolist()))

    def where(self, keep: NDArray[np.bool_]) -> "AnswerTable":
        """Keep some rows.

        Args:
            keep: says so for each row.
        """
        return AnswerTable(**{name: getattr(self, name)[keep] for name in COLUMNS})

    def rows(self) -> tuple[Answered, ...]:
        """Return the rows as records."""
        columns = [getattr(self, name).tolist() for name in COLUMNS]
        return tuple(
            Answered(cell=cell, seed=seed, image=image, kind=kind, glyph_px=_none_for_nan(px), is_right=right)
            for cell, seed, image, kind, px, right in zip(*columns, strict=True)
        )


def tabulate(rows: Iterable[Answered]) -> AnswerTable:
    """Make a table of records.

    Args:
        rows: in any order, which is kept.
    """
    kept = list(rows)
    return AnswerTable(
        cell=np.array([row.cell for row in kept], dtype=np.str_),
        seed=np.array([row.seed for row in kept], dtype=np.int64),
        image=np.array([row.image for row in kept], dtype=np.str_),
        kind=np.array([row.kind for row in kept], dtype=np.str_),
        glyph_px=np.array([math.nan if row.glyph_px is None else row.glyph_px for row in kept], dtype=np.float64),
        is_right=np.array([row.is_right for row in kept], dtype=np.bool_),
    )


def _none_for_nan(px: float) -> float | None:
    return None if math.isnan(px) else px
