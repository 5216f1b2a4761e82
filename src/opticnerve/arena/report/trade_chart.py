"""Quality against what it costs, and what nothing beats."""

from math import exp, log
from typing import Any

from opticnerve.arena.report.elastic import curves
from opticnerve.arena.report.look import INK, contender_scales, dressed
from opticnerve.arena.report.summary import Row, Summary
from opticnerve.planner.charts.style import altair
from opticnerve.planner.pareto import pareto_front

_APART_PX = 13
"""Between contenders of the same budget."""


def tokens_chart(summary: Summary) -> Any:  # noqa: ANN401 - altair is imported when it is needed
    """Draw exact match against visual tokens per image.

    Args:
        summary: of the arena.
    """
    told = [
        "Exact match over all questions, with intervals. Contenders of one budget stand side by side.",
        "Line and names: what nothing beats, neither cheaper and as good nor better and as cheap.",
    ]
    if curves([row.group for row in summary.rows]):
        told.append("Dashed: one connector for all budgets; thin and plain: one of the same method for each.")
    return dressed(
        _trade(summary, "tokens", "visual tokens per image", apart_px=_APART_PX), "Quality against visual tokens", *told
    )


def time_chart(summary: Summary) -> Any:  # noqa: ANN401 - as above
    """Draw exact match against the time to the first token.

    Args:
        summary: of the arena.
    """
    return dressed(
        _trade(summary, "ms", "time to first token (ms, measured)", apart_px=0),
        "Quality against time to first token",
        "Exact match over all questions, with intervals; time is that of the quickest seed.",
        "Line and names: what nothing beats, neither quicker and as good nor better and as quick.",
    )


def front_of(summary: Summary, key: str) -> tuple[Row, ...]:
    """Return the groups that nothing beats, from the cheapest.

    Args:
        summary: of the arena.
        key: cost: "tokens" or "ms".
    """
    points = [(_cost(row, key), row.score.estimate) for row in summary.rows]
    return tuple(summary.rows[index] for index in pareto_front(points))


def _cost(row: Row, key: str) -> float:
    return row.group.tokens if key == "tokens" else row.group.first_token_ms


def _trade(summary: Summary, key: str, title: str, *, apart_px: int) -> Any:  # noqa: ANN401 - as above
    alt = altair()
    values = [_value(row) for row in summary.rows]
    front = [_value(row) for row in front_of(summary, key)]
    colour, shape = contender_scales([row.group for row in summary.rows])
    names = list(shape.to_dict()["sort"])
    costs = [_cost(row, key) for row in summary.rows]
    ticks = {"values": sorted(set(costs))} if key == "tokens" else {}
    # room for what is drawn apart, and for names, which stand to the left: nothing is there, above a front
    span = max(log(max(costs) / min(costs)), 0.1)
    ends = [min(costs) * exp(-0.3 * span), max(costs) * exp((0.2 if apart_px else 0.05) * span)]
    x = alt.X(
        f"{key}:Q",
        title=title,
        scale=alt.Scale(type="log", domain=ends, nice=False),
        axis=alt.Axis(format=",.0f", **ticks),
    )
    lows, highs = ([getattr(row.score, end) for row in summary.rows] for end in ("low", "high"))
    domain = [max(0.0, 100 * min(lows) - 2), min(100.0, 100 * max(highs) + 2)]
    y = alt.Y("score:Q", title="exact match (%)", scale=alt.Scale(zero=False, nice=False, domain=domain))
    line = alt.Chart(alt.InlineData(values=front)).mark_line(interpolate="step-after", color="#b8c0c9", strokeWidth=2)
    layers = [line.encode(x=x, y=y), *(_elastic(summary, x=x, y=y, colour=colour) if key == "tokens" else [])]
    budgets: dict[str, list[dict[str, Any]]] = {}
    for value in values:
        budgets.setdefault(str(value["tokens"]), []).append(value)
    for members in budgets.values():
        members.sort(key=lambda value: names.index(value["contender"]))
        for place, value in enumerate(members):
            aside = apart_px * (place - (len(members) - 1) / 2)
            own = alt.Chart(alt.InlineData(values=[value])).encode(x=x, y=y, color=colour)
            layers.append(own.mark_rule(xOffset=aside, strokeWidth=2, opacity=0.5).encode(y="low:Q", y2="high:Q"))
            point = own.mark_point(xOffset=aside, filled=True, size=95, opacity=1, stroke="white", strokeWidth=0.8)
            layers.append(point.encode(shape=shape, tooltip=_tooltip()))
            if value in front:
                name = own.mark_text(dx=aside - 9, dy=-9, align="right", fontSize=11.5, fontWeight="bold")
                layers.append(name.encode(text="name:N", color=alt.value(INK)))
    return alt.layer(*layers).properties(width=760, height=400)


def _elastic(summary: Summary, *, x: Any, y: Any, colour: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Draw the curves of connectors for several budgets, and of those for one that stand beside them."""
    alt, rows = altair(), {row.group.name: row for row in summary.rows}
    layers: list[Any] = []
    for own in curves([row.group for row in summary.rows]):
        line = alt.Chart(alt.InlineData(values=[_value(rows[one.name]) for one in own])).encode(x=x, y=y, color=colour)
        dash = [6, 4] if own[0].is_elastic else [1, 0]
        layers.append(line.mark_line(strokeDash=dash, strokeWidth=1.6, opacity=0.8))
    return layers


def _value(row: Row) -> dict[str, Any]:
    return {
        "name": row.group.name,
        "contender": row.group.contender,
        "tokens": row.group.tokens,
        "ms": row.group.first_token_ms,
        "score": 100 * row.score.estimate,
        "low": 100 * row.score.low,
        "high": 100 * row.score.high,
        "standing": row.standing,
    }


def _tooltip() -> list[Any]:
    alt = altair()
    return [
        alt.Tooltip("name:N"),
        alt.Tooltip("tokens:Q", title="visual tokens"),
        alt.Tooltip("ms:Q", title="first token (ms)", format=".1f"),
        *(alt.Tooltip(f"{key}:Q", title=f"{key} (%)", format=".1f") for key in ("score", "low", "high")),
        alt.Tooltip("standing:N", title="baselines"),
    ]
