"""The table of layouts in the documentation is what the code says."""

from pathlib import Path

from opticnerve.checkpoints import UNSUPPORTED
from opticnerve.checkpoints.table import layout_table

PAGE = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text()


def test_the_table_is_that_of_the_code() -> None:
    assert layout_table() in PAGE, "run python scripts/layout_table.py"


def test_what_is_not_supported_is_named() -> None:
    assert [name for name in UNSUPPORTED if f"`{name}`" not in PAGE] == []
