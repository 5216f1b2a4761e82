"""Write what was measured into its documentation page: `python benchmarks/page.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "cpu.json"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
START, END = "<!-- measured on the CPU -->", "<!-- end of measured on the CPU -->"
_COLUMNS = ("case", "pass", "original, ms", "ours, ms", "ratio", "memory", "error", "of the floor", "rewrites")


def read_results() -> dict[str, Any] | None:
    """Read what was measured; None where nothing was yet."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else None


def measured(result: Mapping[str, Any] | None) -> str:
    """Write the part of the page that is made from the results.

    Args:
        result: what `benchmarks/bench.py` wrote; None where nothing was measured yet.
    """
    if result is None:
        return f"{START}\n\nNot measured yet.\n\n{END}"
    load = result["load_before"]
    head = (
        f"{result['cpu']}, {result['cores']} cores, torch {result['torch']}, float32, {result['rounds']} rounds, "
        f"{result['date']}, commit `{result['commit']}`, `{result['command']}`. Load of the machine before it began: "
        f"{load:.2f}{_warning(load, cores=result['cores'])}."
    )
    threads = sorted({row["threads"] for row in result["rows"]})
    parts = [_table([row for row in result["rows"] if row["threads"] == count], threads=count) for count in threads]
    return "\n\n".join([START, head, *parts, END])


def _warning(load: float, *, cores: int) -> str:
    return " (**other work ran: do not rely on the numbers**)" if load > cores / 2 else ""


def _table(rows: Sequence[Mapping[str, Any]], *, threads: int) -> str:
    lines = [f"### {threads} thread{'s' if threads > 1 else ''}", "", *_head()]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(row))} |" for row in rows)])


def _head() -> list[str]:
    return [f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]


def _cells(row: Mapping[str, Any]) -> list[str]:
    ratio = row["ratio"]
    memory = f"{row['ours_bytes'] / row['original_bytes']:.2f}"
    if row["derived_bytes"]:
        memory += f", and {row['derived_bytes'] / 1e6:.0f} MB that stay"
    return [
        row["title"],
        row["passes"],
        f"{row['original_ms']['median']:.1f}",
        f"{row['ours_ms']['median']:.1f}",
        f"**{ratio['median']:.2f}** ({ratio['low']:.2f} to {ratio['high']:.2f})",
        memory,
        f"{row['original_error']:.1e}, {row['ours_error']:.1e}",
        f"{row['floor_ms'] / row['ours_ms']['median']:.0%}",
        ", ".join(row["rewrites"]),
    ]


def main() -> None:
    """Run the script."""
    block = measured(read_results())
    text = PAGE.read_text()
    PAGE.write_text(re.sub(f"{START}.*{END}", lambda _: block, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
