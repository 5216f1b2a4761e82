"""Records of answers keep what they are told."""

import pytest

from arena.tables import row, rows
from opticnerve.arena import from_csv, from_json_lines, to_csv, to_json_lines
from opticnerve.errors import DataError

TABLE = rows(row(), row(cell='b, "x"', seed=3, image="test 4\n", glyph_px=9.5, is_right=False), row(kind="count"))


@pytest.mark.parametrize(("write", "read"), [(to_csv, from_csv), (to_json_lines, from_json_lines)])
def test_a_table_comes_back_as_it_was_written(write, read):
    assert read(write(TABLE)).rows() == TABLE.rows()
    assert len(read(write(rows()))) == 0


def test_cells_are_in_order_of_first_use():
    assert TABLE.cells == ("a", 'b, "x"')


@pytest.mark.parametrize("bad", ["{", "3", "{}", to_json_lines(TABLE).splitlines()[0].replace("true", "1")])
def test_a_bad_json_line_is_named(bad: str):
    with pytest.raises(DataError, match=r"line 2 is not an answered question: it needs cell, seed, image"):
        from_json_lines(to_json_lines(rows(row())) + bad)


@pytest.mark.parametrize("bad", ["a,0,x,color,,yes", "a,one,x,color,,true", "a,0", "a,0,x,color,tall,true"])
def test_a_bad_csv_line_is_named(bad: str):
    with pytest.raises(DataError, match=r"line 2 is not an answered question"):
        from_csv("cell,seed,image,kind,glyph_px,is_right\n" + bad)
