"""Words, tables and JSON on the terminal. Results go to stdout, everything else to stderr."""

import json
import os
import sys
from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 200
_NARROW = 125
"""Terminals below this width get short headings."""
_SHORT = {
    "features": "feat.",
    "tokens": "tok.",
    "encoder": "enc.",
    "connector": "conn.",
    "decode": "dec.",
    "encode": "enc.",
    "connect": "conn.",
}


def is_first_process() -> bool:
    """Say whether this process speaks: under torchrun only one does."""
    return os.environ.get("RANK", "0") == "0"


def complain(message: str) -> None:
    """Print one line on stderr, whatever line breaks the message has."""
    sys.stderr.write(f"opticnerve: {' '.join(message.split())}\n")


def say(message: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(f"{message}\n")


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, num_words: int = 1, name_width: int = 18
) -> None:
    """Print a table on stdout.

    Args:
        title: stands above it.
        columns: headings; a line break is kept.
        rows: the cells of each row.
        num_words: columns from the left that hold words; the others hold numbers, flush right and never broken.
        name_width: characters that the first column has at least, where its cells are as long, before they are folded.
    """
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    is_narrow = console.width < _NARROW
    table = Table(
        title=title,
        title_justify="left",
        box=SIMPLE,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0 if is_narrow else 1),
    )
    name_width = min(max((len(row[0]) for row in rows), default=0), name_width)
    for index, column in enumerate(columns):
        is_word = index < num_words
        heading = "\n".join(_SHORT.get(word, word) for word in column.split("\n")) if is_narrow else column
        justify = "left" if is_word else "right"
        min_width = name_width if index == 0 else None
        table.add_column(heading, justify=justify, no_wrap=not is_word, overflow="fold", min_width=min_width)
    for row in rows:
        # Names of files and messages may hold brackets, which would be markup.
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    console.print(table, highlight=False)
    console.print()


def giga(flops: int) -> str:
    """Write operations in billions."""
    value = flops / 1e9
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def short_count(number: int) -> str:
    """Write a large number with three digits and a unit: 4.61 M."""
    for size, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
