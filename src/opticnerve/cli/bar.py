"""A progress bar for those who watch long work."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class WithBar:
    """Draws a bar on stderr, with words behind it, where that is a terminal; elsewhere whoever inherits writes lines.

    Args:
        is_shown: this process speaks.
        width: of the bar, in characters; None is what fits.
    """

    def __init__(self, *, is_shown: bool = True, width: int | None = None) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._is_drawn = is_shown and self._console.is_terminal
        bar = BarColumn(bar_width=width or max(8, min(40, self._console.width - 90)))
        columns = (TextColumn("{task.description}"), bar, MofNCompleteColumn(), TextColumn("{task.fields[how]}"))
        self._bar = Progress(*columns, console=self._console, disable=not self._is_drawn)

    def __enter__(self) -> None:
        """Show the bar."""
        self._bar.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it stands."""
        del kind, error, trace
        self._bar.stop()
