"""Write the planner's catalogue into its documentation page: `python scripts/catalogue_table.py`."""

from __future__ import annotations

import re
from pathlib import Path

from opticnerve.planner.catalogue.table import catalogue_tables

PAGE = Path(__file__).parents[1] / "docs" / "planner.md"


def main() -> None:
    """Run the script."""
    block = f"<!-- catalogue -->\n{catalogue_tables()}\n<!-- end of catalogue -->"
    text = PAGE.read_text()
    PAGE.write_text(re.sub(r"<!-- catalogue -->.*<!-- end of catalogue -->", lambda _: block, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
