"""`opticnerve layouts`: the published layouts that are read and written."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter


def layouts(*, json: Annotated[bool, Parameter(name="--json")] = False) -> int:
    """List the published layouts that are read and written, and what is not supported.

    Args:
        json: Print JSON instead of tables.
    """
    from opticnerve.checkpoints import UNSUPPORTED
    from opticnerve.checkpoints.table import layout_rows
    from opticnerve.cli.terminal import print_json, print_table

    rows = layout_rows()
    if json:
        print_json({"layouts": [asdict(row) for row in rows], "not_supported": dict(UNSUPPORTED)})
        return 0
    columns = ["layout", "models", "files of", "method", "blocks", "tokens"]
    cells = [[row.layout, row.models, row.home, row.method, row.blocks, row.tokens] for row in rows]
    print_table(f"{len(rows)} layouts", columns, cells, num_words=5, name_width=24)
    print_table("Not supported", ["model type", "why"], [[*pair] for pair in UNSUPPORTED.items()], num_words=2)
    return 0
