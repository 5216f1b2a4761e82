"""Grids are whole numbers, and say what fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opticnerve import Grid, Queries
from opticnerve.errors import GridError
from opticnerve.grid import common_factors, require_multiple, total_size

sides = st.integers(1, 200)


@given(rows=sides, cols=sides, frames=st.integers(1, 5), prefix=st.integers(0, 5))
def test_size_counts_patches_and_prefix(rows: int, cols: int, frames: int, prefix: int) -> None:
    grid = Grid(rows, cols, frames=frames, prefix=prefix)
    assert grid.num_patches == rows * cols * frames
    assert grid.size == grid.num_patches + prefix
    assert grid.without_prefix == Grid(rows, cols, frames=frames)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"rows": 0, "cols": 3}, "a grid needs rows as a whole number of at least 1, got 0"),
        ({"rows": 3, "cols": True}, "a grid needs cols as a whole number of at least 1, got True"),
        ({"rows": 3, "cols": 3, "frames": 0}, "a grid needs frames as a whole number of at least 1, got 0"),
        ({"rows": 3, "cols": 3, "prefix": -1}, "a grid needs prefix as a whole number of at least 0, got -1"),
    ],
)
def test_a_grid_refuses_what_is_no_count(numbers: dict, message: str) -> None:
    with pytest.raises(GridError) as raised:
        Grid(**numbers)
    assert str(raised.value) == message


@pytest.mark.unchecked
def test_a_grid_refuses_fractions() -> None:
    with pytest.raises(GridError, match="a grid needs cols as a whole number of at least 1, got 2.5"):
        Grid(3, 2.5)


def test_a_grid_reads_as_rows_by_columns() -> None:
    assert str(Grid(24, 32)) == "24 x 32"
    assert str(Grid(2, 3, frames=4, prefix=1)) == "1 + 4 x 2 x 3"
    assert str(Queries(96)) == "96 queries"
    assert Queries(6, spread=(2, 3)) == Queries(6)
    with pytest.raises(GridError, match="6 queries cannot start from 2 x 4 places"):
        Queries(6, spread=(2, 4))


def test_prefix_tokens_and_queries_lie_nowhere() -> None:
    with pytest.raises(
        GridError, match=r"merge works on places, but 1 \+ 2 x 2 begins with prefix tokens \(1\): drop them"
    ):
        Grid(2, 2, prefix=1).spatial("merge")
    with pytest.raises(GridError, match="pool works on places, but 64 learned queries have none: put it before them"):
        Queries(64).spatial("pool")


@given(rows=sides, cols=sides)
def test_the_factors_that_a_message_names_fit(rows: int, cols: int) -> None:
    for factor in common_factors(rows, cols):
        require_multiple(Grid(rows, cols), rows=factor, cols=factor, action="merge", remedy="")


def test_a_grid_that_does_not_fit_names_the_factors_that_do() -> None:
    with pytest.raises(GridError) as raised:
        require_multiple(Grid(27, 27), rows=2, cols=2, action="merge", remedy='To pad instead, set odd="pad".')
    assert str(raised.value) == (
        "cannot merge a 27 x 27 grid by 2: both sides must be multiples of 2. Factors that fit: 3, 9, 27. "
        'To pad instead, set odd="pad".'
    )
    with pytest.raises(GridError, match=r"a 7 x 11 grid by 2: both sides .* No factor above 1 fits\. Pad\."):
        require_multiple(Grid(7, 11), rows=2, cols=2, action="merge", remedy="Pad.")
    with pytest.raises(GridError, match=r"by 1 x 4: columns must be a multiple of 4\. Factors that fit: 2, 5"):
        require_multiple(Grid(3, 10), rows=1, cols=4, action="merge", remedy="")
    with pytest.raises(GridError, match=r"by 4 x 1: rows must be a multiple of 4\. Factors that fit: 2, 3, 6"):
        require_multiple(Grid(6, 8), rows=4, cols=1, action="merge", remedy="")
    with pytest.raises(GridError, match=r"by 2 x 3: columns must be a multiple of 3\. Factors that fit: 2, 4, 8"):
        require_multiple(Grid(6, 8), rows=2, cols=3, action="merge", remedy="")
    both = r"rows must be a multiple of 4 and columns must be a multiple of 3\. Factors that fit the rows: 2, 3, 6\. "
    with pytest.raises(GridError, match=both + r"Factors that fit the columns: 2, 4, 8\."):
        require_multiple(Grid(6, 8), rows=4, cols=3, action="merge", remedy="")


def test_queries_are_counted_like_patches() -> None:
    with pytest.raises(GridError, match="a grid needs queries as a whole number of at least 1, got 0"):
        Queries(0)


def test_sizes_of_images_add_up() -> None:
    assert total_size([Grid(2, 3), Grid(1, 1, prefix=1), Queries(5)]) == 13
