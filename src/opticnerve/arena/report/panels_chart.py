"""One small panel a contender: accuracy against glyph height, and how it learned."""

from collections.abc import Callable
from typing import Any

from opticnerve.arena.report.look import FAINT, budget_scale, dressed
from opticnerve.arena.report.summary import READS, Row, Summary
from opticnerve.planner.charts.style import altair

_COLUMNS = 4
_Draw = Callable[[list[Row], Any, tuple[str | None, str | None]], Any]
"""Draws the budgets of one contender, given their colour and the titles of both axes."""


def glyph_chart(summary: Summary) -> Any:  # noqa: ANN401 - altair is imported when it is needed
    """Draw accuracy against glyph height; None where nothing was to be read.

    Args:
        summary: of the arena.
    """
    alt = altair()
    if not any(row.heights for row in summary.rows):
        return None
    widest = max(point.mean_px for row in summary.rows for point in row.heights)
    every_x = alt.X("height:Q", scale=alt.Scale(zero=False, nice=True, padding=6))
    every_y = alt.Y("share:Q", scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(values=[0, 50, 100]))

    def draw(rows: list[Row], colour: Any, titles: tuple[str | None, str | None]) -> Any:  # noqa: ANN401
        x, y = every_x.title(titles[0]), every_y.title(titles[1])
        values = [value for row in rows for value in _heights(row)]
        base = alt.Chart(alt.InlineData(values=values)).encode(x=x, color=colour)
        level = alt.Chart(alt.InlineData(values=[{"share": 100 * READS, "height": widest}]))
        return alt.layer(
            level.mark_rule(strokeDash=[3, 3], color="#b8c0c9").encode(y=y),
            *_ghost(summary, rows, _heights, x, y),
            base.mark_area(opacity=0.16).encode(y=alt.Y("low:Q", title=titles[1]), y2="high:Q"),
            base.mark_line(strokeWidth=2.2, point=alt.OverlayMarkDef(size=28)).encode(
                y=y, tooltip=_tips("height", "share")
            ),
        )

    return dressed(
        _grid(summary, draw, "glyph height (px of the page)", "exact match (%)"),
        "Accuracy against glyph height",
        f"Questions that ask for text. Bands: intervals. Dashed: {READS:.0%}, which counts as reading.",
        "Dotted: every patch kept.",
    )


def curves_chart(summary: Summary) -> Any:  # noqa: ANN401 - as above
    """Draw the loss of the last stage against its steps; None where none was kept.

    Args:
        summary: of the arena.
    """
    alt = altair()
    if not any(row.group.curve for row in summary.rows):
        return None
    every_x = alt.X("step:Q", axis=alt.Axis(tickCount=4))
    every_y = alt.Y("loss:Q", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4))

    def draw(rows: list[Row], colour: Any, titles: tuple[str | None, str | None]) -> Any:  # noqa: ANN401
        x, y = every_x.title(titles[0]), every_y.title(titles[1])
        base = alt.Chart(alt.InlineData(values=[value for row in rows for value in _losses(row)]))
        return alt.layer(
            *_ghost(summary, rows, _losses, x, y),
            base.mark_line(strokeWidth=2.2).encode(x=x, y=y, color=colour, tooltip=_tips("step", "loss")),
        )

    return dressed(
        _grid(summary, draw, "step of the last stage", "loss"),
        "How they learned",
        "Loss of the last stage, mean over seeds. Dotted: every patch kept. What still falls has not converged:",
        "equal steps are not equal convergence, and a low score may then be a matter of training, not of the method.",
    )


def _grid(summary: Summary, draw: _Draw, x: str, y: str) -> Any:  # noqa: ANN401 - as above
    """Lay panels out in rows; only the outer axes have titles."""
    alt = altair()
    colour = budget_scale([row.group for row in summary.rows])
    contenders: dict[str, list[Row]] = {}
    for row in sorted(summary.rows, key=lambda row: row.group.is_baseline):
        contenders.setdefault(row.group.contender, []).append(row)
    panels = [
        draw(
            rows, colour, (x if place + _COLUMNS >= len(contenders) else None, None if place % _COLUMNS else y)
        ).properties(width=200, height=130, title=alt.Title(name, fontSize=13, offset=6))
        for place, (name, rows) in enumerate(contenders.items())
    ]
    return alt.concat(*panels, columns=_COLUMNS, spacing=22).resolve_scale(x="shared", y="shared", color="shared")


def _ghost(
    summary: Summary,
    rows: list[Row],
    read: Callable[[Row], list[dict[str, float]]],
    x: Any,  # noqa: ANN401 - as above
    y: Any,  # noqa: ANN401
) -> list[Any]:
    """Draw the baseline that keeps every patch behind the others; no layer where there is nothing to draw."""
    alt, whole = altair(), summary.unreduced
    values = read(whole) if whole and whole not in rows else []
    line = alt.Chart(alt.InlineData(values=values)).mark_line(color=FAINT, strokeDash=[1, 2], strokeWidth=1.6)
    return [line.encode(x=x, y=y)] if values else []


def _heights(row: Row) -> list[dict[str, float]]:
    return [
        {
            "height": point.mean_px,
            "share": 100 * point.share.estimate,
            "low": 100 * point.share.low,
            "high": 100 * point.share.high,
            "tokens": row.group.tokens,
        }
        for point in row.heights
    ]


def _losses(row: Row) -> list[dict[str, float]]:
    return [{"step": step, "loss": loss, "tokens": row.group.tokens} for step, loss in row.group.curve]


def _tips(*keys: str) -> list[Any]:
    alt = altair()
    return [alt.Tooltip("tokens:O", title="visual tokens"), *(alt.Tooltip(f"{key}:Q", format=".3~g") for key in keys)]
