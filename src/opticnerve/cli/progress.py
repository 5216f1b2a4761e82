"""A progress bar on stderr."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def with_progress(items: Iterable[Item], *, total: int, what: str = "images") -> Iterator[Item]:
    """Pass items on, and show on stderr how many there were; only on a terminal, and for more than one.

    Args:
        items: one after another.
        total: how many there will be.
        what: their name.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_shown = total > 1 and console.is_terminal
    with Progress(*columns, console=console, disable=not is_shown, redirect_stdout=False) as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            progress.advance(task)
            yield item
