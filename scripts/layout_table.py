"""Write the table of layouts into its documentation page: `python scripts/layout_table.py`."""

from __future__ import annotations

import re
from pathlib import Path

from opticnerve.checkpoints.table import layout_table

PAGE = Path(__file__).parents[1] / "docs" / "checkpoints.md"


def main() -> None:
    """Run the script."""
    text = PAGE.read_text()
    block = f"<!-- layouts -->\n{layout_table()}\n<!-- end of layouts -->"
    PAGE.write_text(re.sub(r"<!-- layouts -->.*<!-- end of layouts -->", lambda _: block, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
