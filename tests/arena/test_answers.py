"""Records of answers keep what they are told."""

from arena.tables import row, rows

TABLE = rows(row(), row(cell='b, "x"', seed=3, image="test 4\n", glyph_px=9.5, is_right=False), row(kind="count"))


def test_cells_are_in_order_of_first_use():
    assert TABLE.cells == ("a", 'b, "x"')


def test_a_table_gives_back_the_records_that_it_was_made_of():
    records = [row(), row(cell='b, "x"', seed=3, image="test 4\n", glyph_px=9.5, is_right=False), row(kind="count")]
    assert list(rows(*records).rows()) == records
