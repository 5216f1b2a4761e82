"""The report of an arena, drawn from its folder alone: a page, pictures and tables."""

import json
from pathlib import Path

from opticnerve.arena.report.files import write_whole
from opticnerve.arena.report.folder import read_folder
from opticnerve.arena.report.page import make_page
from opticnerve.arena.report.panels_chart import curves_chart, glyph_chart
from opticnerve.arena.report.ranking_chart import ranking_chart
from opticnerve.arena.report.records import to_csv, to_json
from opticnerve.arena.report.summary import summarise
from opticnerve.arena.report.trade_chart import time_chart, tokens_chart
from opticnerve.planner.charts.style import altair

__all__ = ["write_report"]

_SCALE = 2
"""Pixels of a picture for each of the chart's."""


def write_report(out: Path) -> tuple[Path, ...]:
    """Draw the report of an arena from its folder, finished or not.

    Args:
        out: the arena's folder; the report is written into "report" in there.

    Returns:
        The files: the page, which opens without a network, the tables as CSV and JSON, and the charts as PNG.

    Raises:
        DataError: nothing is finished in the folder, a file in there is damaged, or the report cannot be written.
        PlanError: altair or vl-convert-python is not installed.
        SpecError: cells were not asked the same.
    """
    _ = altair()
    import vl_convert

    folder = read_folder(out)
    summary = summarise(folder)
    drawn = {
        "ranking": ranking_chart(summary),
        "tokens": tokens_chart(summary),
        "time": time_chart(summary),
        "glyphs": glyph_chart(summary),
        "curves": curves_chart(summary),
    }
    charts = {name: chart for name, chart in drawn.items() if chart is not None}
    specs = {name: chart.to_dict() for name, chart in charts.items()}
    page = make_page(folder, summary, specs, vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    files = {
        "report.html": page.encode(),
        "results.csv": to_csv(summary).encode(),
        "results.json": to_json(summary, folder).encode(),
    }
    for name, spec in specs.items():
        files[f"{name}.png"] = vl_convert.vegalite_to_png(json.dumps(spec), scale=_SCALE)
    return tuple(write_whole(out / "report" / name, data) for name, data in files.items())
