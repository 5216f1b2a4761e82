"""Which questions each cell of the arena answered right, as a table."""

import csv
import io
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from opticnerve.errors import DataError


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
_TYPES: dict[str, tuple[type, ...]] = {
    "cell": (str,),
    "seed": (int,),
    "image": (str,),
    "kind": (str,),
    "glyph_px": (int, float, type(None)),
    "is_right": (bool,),
}


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


def to_json_lines(table: AnswerTable) -> str:
    """Write one JSON object a line."""
    return "".join(json.dumps(asdict(row)) + "\n" for row in table.rows())


def from_json_lines(text: str) -> AnswerTable:
    """Read what `to_json_lines` wrote.

    Raises:
        DataError: a line is not an answered question.
    """
    return tabulate(_line(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def to_csv(table: AnswerTable) -> str:
    """Write comma-separated values with a head; no glyph height is an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in table.rows():
        px = "" if row.glyph_px is None else row.glyph_px
        writer.writerow([row.cell, row.seed, row.image, row.kind, px, str(row.is_right).lower()])
    return file.getvalue()


def from_csv(text: str) -> AnswerTable:
    """Read what `to_csv` wrote.

    Raises:
        DataError: a line is not an answered question.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    return tabulate(_csv_row(number, row) for number, row in enumerate(reader, start=2))


def _csv_row(number: int, row: dict[str, Any]) -> Answered:
    try:
        px, right = row["glyph_px"], {"true": True, "false": False}[row["is_right"]]
        values = row | {"seed": int(row["seed"]), "glyph_px": float(px) if px else None, "is_right": right}
    except (KeyError, ValueError, TypeError) as error:
        raise _not_a_row(number) from error
    return _record(number, values)


def _line(number: int, line: str) -> Answered:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise _not_a_row(number) from error
    return _record(number, values)


def _record(number: int, values: Any) -> Answered:  # noqa: ANN401
    if not isinstance(values, dict):
        raise _not_a_row(number)
    row = cast("dict[str, Any]", values)
    if set(row) != set(COLUMNS) or not all(type(row[name]) in types for name, types in _TYPES.items()):
        raise _not_a_row(number)
    return Answered(**row)


def _not_a_row(number: int) -> DataError:
    return DataError(
        f"line {number} is not an answered question: it needs {', '.join(COLUMNS)}; seed is a whole number, is_right"
        " true or false, glyph_px a number or nothing"
    )


def _none_for_nan(px: float) -> float | None:
    return None if math.isnan(px) else px
