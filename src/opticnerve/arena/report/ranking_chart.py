"""Who is best at each budget, with intervals: the chart to look at first."""

from typing import Any

from opticnerve.arena.report.look import INK, STANDINGS, dressed
from opticnerve.arena.report.summary import Row, Summary
from opticnerve.planner.charts.style import altair

_ROW_PX = 25


def ranking_chart(summary: Summary) -> Any:  # noqa: ANN401 - altair is imported when it is needed
    """Draw the score of every group, one panel a budget, beside the best baseline and the unreduced image.

    Args:
        summary: of the arena.
    """
    alt = altair()
    whole = summary.unreduced
    budgets: dict[int, list[Row]] = {}
    for row in summary.rows:
        budgets.setdefault(row.group.tokens, []).append(row)
    shown = [tokens for tokens in sorted(budgets, reverse=True) if budgets[tokens] != [whole]] or list(budgets)
    ends = [100 * end for row in summary.rows for end in (row.score.low, row.score.high)]
    domain = [max(0.0, 10 * (min(ends) // 10)), min(100.0, 10 * (max(ends) // 10 + 1))]
    colour = _colour([row for tokens in shown for row in budgets[tokens]])
    panels = [_panel(budgets[tokens], whole, domain, colour) for tokens in shown]
    return dressed(
        alt.hconcat(*panels, spacing=26),
        "Who beats the baselines",
        "Exact match over all questions, with intervals. Dashed: the best baseline of the budget."
        + (f" Band: every patch kept, {whole.group.tokens} tokens." if whole else ""),
        "A method beats them where its paired difference to every baseline of its budget is separable from 0.",
    )


def _panel(rows: list[Row], whole: Row | None, domain: list[float], colour: Any) -> Any:  # noqa: ANN401 - as above
    alt = altair()
    tokens = rows[0].group.tokens
    ordered = sorted(rows, key=lambda row: -row.score.estimate)
    values = [
        {
            "contender": row.group.contender,
            "score": 100 * row.score.estimate,
            "low": 100 * row.score.low,
            "high": 100 * row.score.high,
            "standing": row.standing,
        }
        for row in ordered
    ]
    x = alt.X("score:Q", title="exact match (%)", scale=alt.Scale(domain=domain, nice=False, zero=False))
    y = alt.Y("contender:N", sort=[str(value["contender"]) for value in values], title=None)
    y = y.axis(ticks=False, domain=False, grid=True)
    base = alt.Chart(alt.InlineData(values=values)).encode(y=y)
    layers: list[Any] = []
    if whole and whole not in rows:
        band = [{"low": 100 * whole.score.low, "high": 100 * whole.score.high, "score": 100 * whole.score.estimate}]
        layers.append(
            alt.Chart(alt.InlineData(values=band)).mark_rect(color=INK, opacity=0.09).encode(x="low:Q", x2="high:Q")
        )
        layers.append(alt.Chart(alt.InlineData(values=band)).mark_rule(color=INK, opacity=0.55).encode(x="score:Q"))
    bases = [100 * row.score.estimate for row in rows if row.group.is_baseline]
    if bases:
        best = alt.Chart(alt.InlineData(values=[{"score": max(bases)}]))
        layers.append(best.mark_rule(strokeDash=[5, 4], color="#52606d").encode(x="score:Q"))
    layers.append(base.mark_rule(strokeWidth=2.5, opacity=0.75).encode(x=alt.X("low:Q"), x2="high:Q", color=colour))
    tooltip = [alt.Tooltip("contender:N"), *(alt.Tooltip(f"{key}:Q", format=".1f") for key in ("score", "low", "high"))]
    points = base.mark_point(filled=True, size=85, opacity=1, stroke="white", strokeWidth=1)
    layers.append(points.encode(x=x, color=colour, tooltip=[*tooltip, alt.Tooltip("standing:N")]))
    words = base.mark_text(align="left", dx=9, dy=-9, fontSize=10.5, color="#52606d")
    layers.append(words.encode(x=x, text=alt.Text("score:Q", format=".0f")))
    ratio = min(row.group.reduction for row in rows)
    title = alt.Title(f"{tokens} visual tokens ({ratio}x fewer)" if ratio > 1 else f"{tokens} visual tokens")
    return alt.layer(*layers).properties(width=350, height=_ROW_PX * len(rows), title=title)


def _colour(rows: list[Row]) -> Any:  # noqa: ANN401 - as above
    alt = altair()
    shown = [standing for standing in STANDINGS if any(row.standing == standing for row in rows)]
    return alt.Color(
        "standing:N",
        sort=shown,
        scale=alt.Scale(domain=shown, range=[STANDINGS[standing] for standing in shown]),
        legend=alt.Legend(title="baselines of its budget", orient="bottom", symbolType="circle", symbolOpacity=1),
    )
