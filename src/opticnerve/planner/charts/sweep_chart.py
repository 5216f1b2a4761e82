"""Configurations side by side: what they cost against how much of the image they keep."""

from typing import TYPE_CHECKING, Any

from opticnerve.planner.charts.style import GRAY, METHODS, TILINGS, altair
from opticnerve.planner.pareto import pareto_front
from opticnerve.planner.planned import Planned
from opticnerve.planner.sweep import Sweep

if TYPE_CHECKING:
    from altair import Chart, HConcatChart, LayerChart

_APART = 5
"""Pixels between methods that come to the same numbers."""


def sweep_chart(found: Sweep) -> "HConcatChart":
    """Draw visual tokens and the time to the first token against the size of type that can be read.

    Detail grows to the right. Colours are methods, shapes tilings; a bar goes from the best case to the worst; a line
    joins what nothing beats. Methods are drawn a little apart, since many come to the same numbers.

    Args:
        found: the configurations.

    Raises:
        PlanError: altair is not installed.
    """
    alt = altair()
    rows = [_row(one) for one in found.planned]
    first = found.planned[0].plan
    image = f"{first.look.width_px} x {first.look.height_px} px"
    chart: HConcatChart = alt.hconcat(
        _panel(rows, "tokens", "visual tokens of a prompt"),
        _panel(rows, "ms", "time to first token (ms)"),
        title=alt.Title(
            "What detail costs",
            subtitle=[
                f"{first.encoder} and {first.llm} on {first.device}; images of {image} (width x height), "
                f"{first.demand.images_per_prompt} a prompt, batch {first.demand.batch}, {first.demand.dtype}",
                "Line: nothing is both cheaper and finer. Bars: best case to worst. "
                "Methods are drawn a little apart, since many come to the same numbers.",
            ],
            anchor="start",
            offset=12,
        ),
    )
    chart = chart.configure_axis(labelFontSize=12, titleFontSize=12, gridColor="#E4E4E4")
    return chart.configure_legend(labelFontSize=12, titleFontSize=12, symbolSize=90)


def _panel(rows: list[dict[str, Any]], key: str, title: str) -> "LayerChart":
    """Draw one cost against detail."""
    alt = altair()
    front = [rows[index] for index in pareto_front([(row[key], -row["readable_px"]) for row in rows])]
    # from fine to coarse: what lies between two points needs the cost of the finer one
    line = _axes(front, key, title).mark_line(color=GRAY, strokeWidth=2, interpolate="step-after")
    layers: list[Chart] = [line.encode(order=alt.Order("readable_px:Q"))]
    shown = sorted(dict.fromkeys(row["method"] for row in rows), key=[*METHODS, *(row["method"] for row in rows)].index)
    for place, method in enumerate(shown):
        apart = _APART * (place - (len(shown) - 1) / 2)
        own = _axes([row for row in rows if row["method"] == method], key, title)
        if key == "ms":
            bars = own.mark_rule(xOffset=apart, opacity=0.45)
            layers.append(bars.encode(y="low_ms:Q", y2="high_ms:Q", color=_colour(shown)))
        points = own.mark_point(xOffset=apart, filled=True, size=55, opacity=0.95, stroke="white", strokeWidth=0.6)
        layers.append(points.encode(color=_colour(shown), shape=_shape(rows), tooltip=_tooltip()))
    chart: LayerChart = alt.layer(*layers).properties(width=430, height=420)
    return chart


def _axes(rows: list[dict[str, Any]], key: str, title: str) -> "Chart":
    alt = altair()
    chart: Chart = alt.Chart(alt.InlineData(values=rows))
    detail = "smallest readable type (px of the image; finer to the right)"
    return chart.encode(
        x=alt.X("readable_px:Q", title=detail, scale=alt.Scale(type="log", reverse=True, nice=False, padding=24)),
        y=alt.Y(f"{key}:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=12)),
    )


def _colour(shown: list[str]) -> Any:  # noqa: ANN401 - altair is imported when it is needed
    alt = altair()
    scale = alt.Scale(domain=shown, range=[METHODS.get(name, GRAY) for name in shown])
    return alt.Color("method:N", title="method", scale=scale, sort=shown)


def _shape(rows: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - as above
    alt = altair()
    shown = [name for name in TILINGS if any(row["tiling"] == name for row in rows)]
    scale = alt.Scale(domain=shown, range=[TILINGS[name] for name in shown])
    return alt.Shape("tiling:N", title="tiling", scale=scale, sort=shown)


def _tooltip() -> list[Any]:
    alt = altair()
    return [
        alt.Tooltip("words:N", title="configuration"),
        alt.Tooltip("ratio:N", title="features for a token"),
        alt.Tooltip("tokens:Q", title="visual tokens", format=","),
        alt.Tooltip("low_ms:Q", title="first token, best (ms)", format=",.0f"),
        alt.Tooltip("high_ms:Q", title="first token, worst (ms)", format=",.0f"),
        alt.Tooltip("readable_px:Q", title="readable type (px)", format=".1f"),
        alt.Tooltip("pixels_per_token:Q", title="pixels for a token", format=",.0f"),
        alt.Tooltip("zoom:Q", title="resolution kept", format=".0%"),
    ]


def _row(one: Planned) -> dict[str, Any]:
    first = one.plan.timing.first_token_ms
    return {
        "method": "S2" if one.choice.scales != (1,) else one.choice.method,
        "tiling": one.choice.tiling,
        "words": one.words,
        "ratio": one.reduction,
        "tokens": one.plan.visual_tokens,
        "ms": first.middle,
        "low_ms": first.low,
        "high_ms": first.high,
        "readable_px": one.readable_px,
        "pixels_per_token": one.pixels_per_token,
        "zoom": one.plan.look.zoom,
    }
