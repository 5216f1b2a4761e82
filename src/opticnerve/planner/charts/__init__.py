"""Plans as pictures: a sweep, and where the time goes; as PNG, and as a page that needs no network.

chart = sweep_chart(found)
write_html(chart, "sweep.html")
"""

from opticnerve.planner.charts.sweep_chart import sweep_chart
from opticnerve.planner.charts.timing_chart import timing_chart
from opticnerve.planner.charts.write import write_html, write_png

__all__ = ["sweep_chart", "timing_chart", "write_html", "write_png"]
