"""`opticnerve plan --compare`: methods, reductions and tilings side by side."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from opticnerve.cli.plan_flags import DemandFlags, ModelFlags
    from opticnerve.planner import Sweep


def compare_choices(images: str, model: "ModelFlags", demand: "DemandFlags", *, out: str, json: bool) -> int:
    """Plan every combination, print what nothing beats, and draw all.

    Args:
        images: size of the images, or a folder, of which the 95th percentile by pixels is planned for.
        model: names the encoder and the LLM.
        demand: what is asked of it.
        out: folder for the charts; none are drawn if it is empty.
        json: print JSON instead of text.
    """
    from opticnerve.cli.plan_budget import COLUMNS, cells_of
    from opticnerve.cli.terminal import print_json, print_table, say
    from opticnerve.planner import find_device, read_sizes, sweep

    height, width = read_sizes(images).typical
    found = sweep(model.choice(), find_device(demand.device), demand.demand(), size=(height, width))
    paths = _draw(found, out) if out else []
    if json:
        print_json(found.to_dict())
        return 0
    title = f"What nothing beats in time and detail, of {len(found.planned)} configurations, {width} x {height} px"
    print_table(title, COLUMNS, [cells_of(one) for one in found.best], num_words=1, name_width=46)
    if found.refused:
        say(f"{len(found.refused)} combinations cannot be, such as {found.refused[0]}")
    for path in paths:
        say(f"written: {path}")
    if not paths:
        say("With --out FOLDER all of them are drawn, as PNG and as a page.")
    return 0


def _draw(found: "Sweep", out: str) -> "list[Path]":
    from pathlib import Path

    from opticnerve.planner.charts import sweep_chart, write_html, write_png

    chart = sweep_chart(found)
    paths = [Path(out) / "sweep.png", Path(out) / "sweep.html"]
    write_png(chart, paths[0])
    write_html(chart, paths[1])
    return paths
