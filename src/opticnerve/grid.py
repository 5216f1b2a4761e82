"""Where features lie: a grid of patches, or a row of learned queries. Integers only; nothing is ever guessed."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from opticnerve.errors import GridError

Odd = Literal["error", "pad"]
"""What to do with a grid that a factor does not divide: refuse it, or pad its last rows and columns with zeros."""


def _require_count(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise GridError(f"a grid needs {name} as a whole number of at least {least}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Grid:
    """Patches of one image in raster order (row by row), or of several frames, one frame after another.

    Attributes:
        rows: patches from top to bottom.
        cols: patches from left to right.
        frames: frames of a video; 1 for a still image.
        prefix: tokens without a place (a CLS token, registers) that come before the patches.

    Raises:
        GridError: a count is not a whole number, or is out of range.
    """

    rows: int
    cols: int
    frames: int = 1
    prefix: int = 0

    def __post_init__(self) -> None:
        _require_count("rows", self.rows, least=1)
        _require_count("cols", self.cols, least=1)
        _require_count("frames", self.frames, least=1)
        _require_count("prefix", self.prefix, least=0)

    @property
    def num_patches(self) -> int:
        """Patches over all frames, prefix tokens not counted."""
        return self.frames * self.rows * self.cols

    @property
    def size(self) -> int:
        """Features in all: patches and prefix tokens."""
        return self.prefix + self.num_patches

    @property
    def without_prefix(self) -> "Grid":
        """The same patches, with the prefix tokens gone."""
        return replace(self, prefix=0)

    def spatial(self, what: str) -> "Grid":
        """Return the grid itself, for an operation that works on places.

        Args:
            what: the operation, as it stands in the message.

        Raises:
            GridError: there are prefix tokens, which lie nowhere.
        """
        if self.prefix:
            raise GridError(
                f"{what} works on places, but {self} begins with prefix tokens ({self.prefix}): drop them at the "
                f'encoder (prefix="drop") and pass a grid with prefix=0'
            )
        return self

    def __str__(self) -> str:
        """Return rows x cols, with frames and prefix where there are any."""
        text = f"{self.rows} x {self.cols}"
        text = f"{self.frames} x {text}" if self.frames > 1 else text
        return f"{self.prefix} + {text}" if self.prefix else text


@dataclass(frozen=True, slots=True)
class Queries:
    """Learned queries: visual tokens that come from no one place of the image.

    Attributes:
        num: how many there are.
        spread: rows and columns of the map that they start from, where they start from one. They may look anywhere all
            the same, so two lots of queries are equal if there are as many.

    Raises:
        GridError: the count is not a whole number of at least 1, or the map has not as many places.
    """

    num: int
    spread: tuple[int, int] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _require_count("queries", self.num, least=1)
        if self.spread is not None and self.spread[0] * self.spread[1] != self.num:
            raise GridError(f"{self.num} queries cannot start from {self.spread[0]} x {self.spread[1]} places")

    @property
    def size(self) -> int:
        """Tokens in all."""
        return self.num

    def spatial(self, what: str) -> Grid:
        """Refuse: queries lie nowhere.

        Raises:
            GridError: always.
        """
        raise GridError(f"{what} works on places, but {self.num} learned queries have none: put it before them")

    def __str__(self) -> str:
        """Return how many queries."""
        return f"{self.num} queries"


Places = Grid | Queries
"""Where the features of one image lie."""


def require_multiple(grid: Grid, *, rows: int, cols: int, action: str, remedy: str) -> None:
    """Refuse a grid whose sides are not multiples of the factors.

    Args:
        grid: the grid to look at.
        rows: what the number of rows must be a multiple of.
        cols: what the number of columns must be a multiple of.
        action: the verb of the message, "merge" or "pool".
        remedy: the last sentence of the message: what else to do.

    Raises:
        GridError: the message names the factors that fit.
    """
    if grid.rows % rows == 0 and grid.cols % cols == 0:
        return
    if rows == cols:
        need = f"by {rows}: both sides must be multiples of {rows}"
        fitting = _fitting(grid.rows, grid.cols)
    else:
        sides = [("rows", rows, grid.rows), ("columns", cols, grid.cols)]
        bad = [(name, factor, side) for name, factor, side in sides if side % factor]
        need = " and ".join(f"{name} must be a multiple of {factor}" for name, factor, _ in bad)
        need = f"by {rows} x {cols}: {need}"
        fitting = " ".join(_fitting(side, of=f" the {name}" if len(bad) > 1 else "") for name, _, side in bad)
    raise GridError(f"cannot {action} a {grid} grid {need}. {fitting} {remedy}")


def _fitting(*sides: int, of: str = "") -> str:
    """List the factors that fit, as a sentence."""
    fit = ", ".join(map(str, common_factors(*sides)))
    return f"Factors that fit{of}: {fit}." if fit else f"No factor above 1 fits{of}."


def common_factors(*sides: int) -> list[int]:
    """List the factors above 1 that divide every side, ascending."""
    return [f for f in range(2, min(sides) + 1) if all(side % f == 0 for side in sides)]


def total_size(places: Iterable[Places]) -> int:
    """Count the features of several images together."""
    return sum(place.size for place in places)
