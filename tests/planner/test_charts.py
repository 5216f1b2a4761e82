"""Charts: what is drawn, and files that need nothing else."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from opticnerve.errors import PlanError
from opticnerve.planner.charts import sweep_chart, timing_chart, write_html, write_png
from opticnerve.planner.charts.style import METHODS, STAGES, TILINGS
from opticnerve.planner.choice import Choice
from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand
from opticnerve.planner.outcome import Plan
from opticnerve.planner.pareto import pareto_front
from opticnerve.planner.ranges import Range
from opticnerve.planner.sweep import Sweep, sweep
from opticnerve.tiling import TILINGS as ALL_TILINGS
from planner.parts import SETTINGS, device, model

SIZE = (900, 1200)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("llm")
    (folder / "config.json").write_text(json.dumps(SETTINGS))
    slow = device(compute=Range(low=0.3, high=0.8))
    return sweep(
        Choice(encoder="bundled", llm=str(folder)),
        slow,
        Demand(),
        size=SIZE,
        tilings=("plain", "internvl"),
        ratios=(1, 4),
    )


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(model(), device(compute=Range(low=0.3, high=0.8)), Demand(), size=SIZE)


def drawn(chart: dict[str, Any], panel: int, mark: str) -> list[dict[str, Any]]:
    """Return the data of one kind of mark in one panel."""
    layers = [layer for layer in chart["hconcat"][panel]["layer"] if layer["mark"]["type"] == mark]
    return [row for layer in layers for row in rows(chart, layer)]


def rows(chart: dict[str, Any], layer: dict[str, Any]) -> list[dict[str, Any]]:
    data = layer["data"]
    return data["values"] if "values" in data else chart["datasets"][data["name"]]


def test_every_plan_is_a_point_in_both_panels_with_its_numbers(found: Sweep) -> None:
    chart = sweep_chart(found).to_dict()
    wanted = sorted(
        (one.plan.visual_tokens, one.plan.timing.first_token_ms.middle, one.readable_px, one.plan.look.zoom)
        for one in found.planned
    )
    for panel in (0, 1):
        points = drawn(chart, panel, "point")
        assert sorted((row["tokens"], row["ms"], row["readable_px"], row["zoom"]) for row in points) == wanted
    bars = {(row["low_ms"], row["high_ms"]) for row in drawn(chart, 1, "rule")}
    spans = [one.plan.timing.first_token_ms for one in found.planned]
    assert bars == {(span.low, span.high) for span in spans}
    assert not drawn(chart, 0, "rule"), "tokens are exact"


def test_the_line_joins_what_nothing_beats(found: Sweep) -> None:
    chart = sweep_chart(found).to_dict()
    for panel, key in enumerate(("tokens", "ms")):
        points, line = drawn(chart, panel, "point"), drawn(chart, panel, "line")
        front = pareto_front([(row[key], -row["readable_px"]) for row in points])
        assert sorted(row["words"] for row in line) == sorted(points[index]["words"] for index in front)


def test_colours_are_methods_and_shapes_tilings(found: Sweep) -> None:
    chart = sweep_chart(found).to_dict()
    point = next(layer for layer in chart["hconcat"][0]["layer"] if layer["mark"]["type"] == "point")
    scale = point["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == METHODS
    assert point["encoding"]["shape"]["scale"] == {"domain": ["plain", "internvl"], "range": ["circle", "square"]}
    assert set(TILINGS) == set(ALL_TILINGS), "every tiling has a shape"
    assert all(len(set(each.values())) == len(each) for each in (METHODS, TILINGS, STAGES))


def test_bars_of_time_are_the_stages_of_the_plan_and_end_at_the_first_token(plan: Plan) -> None:
    chart = timing_chart(plan).to_dict()
    data = rows(chart, chart)
    for case, end in (("best case", "low"), ("worst case", "high")):
        own = [row for row in data if row["case"] == case]
        assert {row["stage"]: row["ms"] for row in own} == {
            name: getattr(stage, end) for name, stage in plan.timing.stages.items()
        }
        assert sum(row["ms"] for row in own) == pytest.approx(getattr(plan.timing.first_token_ms, end))
        assert sum(row["share"] for row in own) == pytest.approx(1)


def test_pictures_have_their_size_and_are_not_blank(found: Sweep, plan: Plan, tmp_path: Path) -> None:
    for name, chart, least in (("sweep", sweep_chart(found), (1800, 900)), ("time", timing_chart(plan), (1120, 300))):
        path = tmp_path / "new" / f"{name}.png"
        write_png(chart, path)
        with Image.open(path) as image:
            assert image.width >= least[0]
            assert image.height >= least[1]
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
        used = STAGES if name == "time" else METHODS
        wanted = np.array([list(bytes.fromhex(colour[1:])) for colour in used.values()])
        # points are a little transparent
        near = np.abs(pixels[:, None].astype(int) - wanted).max(axis=-1) < 20
        assert (near.sum(axis=0) > 20).sum() >= 3
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == ["sweep.png", "time.png"], "no draft is left"


def test_a_page_asks_for_nothing_from_elsewhere(found: Sweep, tmp_path: Path) -> None:
    write_html(sweep_chart(found), tmp_path / "sweep.html")
    page = (tmp_path / "sweep.html").read_text()
    assert not re.findall(r"<(?:script|iframe|img|link)\b[^>]*\b(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page)
    assert not re.findall(r"@import|jsdelivr|unpkg|cdnjs|<link\b", page)
    links = set(re.findall(r"https?://[^\s\"'`)<>\\]+", page))
    # names of formats, a comment in an error of Vega-Lite's, and the editor, which the menu does not offer
    known = ("http://www.w3.org/", "https://vega.github.io/schema/", "https://vega.github.io/editor/")
    assert {link for link in links if not link.startswith((*known, "https://github.com/vega/"))} == set()
    assert '"editor":false' in page.replace(" ", "")
    assert found.planned[0].words in page


def test_a_chart_that_cannot_be_written_is_refused_and_what_was_there_stays(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(PlanError, match=r"cannot write the chart .*time\.png: .*Name another folder with --out"):
        write_png(timing_chart(plan), tmp_path / "file" / "time.png")
    assert (tmp_path / "file").read_text() == "here"


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_without_the_extra_one_line_says_what_to_install(
    missing: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(PlanError, match=r"charts need altair .*: pip install 'opticnerve\[report\]'$"):
        timing_chart(plan)
