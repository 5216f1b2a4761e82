"""What `opticnerve arena` shows: how many cells are done, how each did, and all of them at the end."""

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean
from time import monotonic
from typing import TYPE_CHECKING, Any

from opticnerve.cli.bar import WithBar
from opticnerve.cli.terminal import print_json, print_table, say, short_count

if TYPE_CHECKING:
    from opticnerve.arena.run import Outcome


class ArenaWatch(WithBar):
    """Draws a bar on a terminal, or else writes a line for each cell; all on stderr."""

    def __init__(self) -> None:
        super().__init__(width=40)
        self._task = self._bar.add_task("cells", total=None, how="")
        self._begin = monotonic()
        self._num_cells = self._num_done = self._num_new = 0

    def planned(self, num_cells: int) -> None:
        """Hear how many cells there are."""
        self._num_cells = num_cells
        self._bar.update(self._task, total=num_cells)
        self._console.print(f"{num_cells} cells: searches of the learning rate first, then what is reported")

    def finished(self, name: str, result: Mapping[str, Any], *, was_done: bool) -> None:
        """Hear of a cell."""
        self._num_done += 1
        self._num_new += not was_done
        left = self._left()
        self._bar.update(self._task, completed=self._num_done, how=left)
        what = "was done before" if was_done else f"trained in {result['train_seconds']:.0f} s"
        place = f"{self._num_done}/{self._num_cells}"
        line = f"{place}  {name}: {100 * share(result):.1f} % right, {result['tokens']} tokens, {what}"
        self._console.print(line if self._is_drawn or not left else f"{line}; {left}", soft_wrap=True)

    def _left(self) -> str:
        """Guess how long the rest takes, from the cells that were run now."""
        if not self._num_new:
            return ""
        seconds = (monotonic() - self._begin) / self._num_new * (self._num_cells - self._num_done)
        return f"about {seconds / 60:.0f} min left"


def share(result: Mapping[str, Any]) -> float:
    """Return the share of right answers, 0 to 1."""
    return fmean(one["is_right"] for one in result["answers"])


def print_outcome(outcome: "Outcome", *, as_json: bool) -> None:
    """Print what came of an arena, over all seeds.

    Args:
        outcome: of the run.
        as_json: as one JSON document, without the single answers.
    """
    if as_json:
        cells = [
            {**{key: value for key, value in one.items() if key not in ("answers", "kept")}, "right": share(one)}
            for one in outcome.results
        ]
        print_json({**asdict(outcome), "out": str(outcome.out), "results": cells})
        return
    found: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for one in outcome.results:
        found.setdefault((one["contender"], one["reduction"]), []).append(one)
    rows = [_row(name, reduction, cells) for (name, reduction), cells in found.items()]
    columns = ["contender", "reduction", "tokens", "right\n%", "of seeds", "rate", "trained", "to first token\nms", "s"]
    print_table("Right answers to all questions of the test", columns, rows)
    say(f"Results are in {outcome.out}. Seeds and images move these numbers: the report says which differ.")


def _row(name: str, reduction: int, cells: list[Mapping[str, Any]]) -> list[str]:
    shares = [100 * share(one) for one in cells]
    return [
        f"{name} (baseline)" if cells[0]["is_baseline"] else name,
        f"{reduction}x",
        str(cells[0]["tokens"]),
        f"{fmean(shares):.1f}",
        ", ".join(f"{one:.1f}" for one in shares),
        f"{cells[0]['rate']:g}",
        short_count(cells[0]["trainable_params"]),
        f"{fmean(one['first_token_ms'] for one in cells):.0f}",
        f"{fmean(one['train_seconds'] for one in cells):.0f}",
    ]
