"""Charts to files that are either whole or not there."""

from pathlib import Path
from typing import TYPE_CHECKING

from opticnerve.planner.charts.style import altair
from opticnerve.planner.whole_files import write_whole

if TYPE_CHECKING:
    from altair import TopLevelMixin

_SCALE = 2
"""Pixels of a picture for each of the chart's."""
_ACTIONS = {"export": True, "source": False, "compiled": False, "editor": False}
"""What the menu of a page offers: to save the chart, and nothing that opens another site."""


def write_png(chart: "TopLevelMixin", path: str | Path) -> None:
    """Write a chart as a picture, without a browser.

    Args:
        chart: what to draw.
        path: what is there is replaced.

    Raises:
        PlanError: altair is not installed, or the file cannot be written.
    """
    _ = altair()
    import vl_convert

    write_whole(Path(path), vl_convert.vegalite_to_png(chart.to_json(), scale=_SCALE), what="chart")


def write_html(chart: "TopLevelMixin", path: str | Path) -> None:
    """Write a chart as one page with everything inside that it needs: it opens without a network.

    Args:
        chart: what to draw.
        path: what is there is replaced.

    Raises:
        PlanError: altair is not installed, or the file cannot be written.
    """
    _ = altair()
    import vl_convert

    spec = {**chart.to_dict(), "usermeta": {"embedOptions": {"actions": _ACTIONS}}}
    write_whole(Path(path), vl_convert.vegalite_to_html(spec, bundle=True).encode(), what="chart")
