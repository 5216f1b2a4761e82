"""Where the time until the first token goes."""

from typing import TYPE_CHECKING, Any

from opticnerve.planner.charts.style import STAGES as COLOURS
from opticnerve.planner.charts.style import altair
from opticnerve.planner.outcome import STAGES, Plan

if TYPE_CHECKING:
    from altair import Chart


def timing_chart(plan: Plan) -> "Chart":
    """Draw the stages until the first token as two stacked bars: the best case and the worst.

    Args:
        plan: of one image size.

    Raises:
        PlanError: altair is not installed.
    """
    alt = altair()
    chart: Chart = alt.Chart(
        alt.InlineData(values=_rows(plan)),
        width=560,
        height=110,
        title=alt.Title(
            "Where the time goes until the first token",
            subtitle=f"{plan.model}; {plan.device}; {plan.prompt_tokens:,} tokens a prompt, batch {plan.demand.batch}",
            anchor="start",
            offset=12,
        ),
    )
    chart = chart.mark_bar(stroke="white", strokeWidth=1)
    chart = chart.encode(
        x=alt.X("ms:Q", title="time to first token (ms)", stack="zero"),
        y=alt.Y("case:N", title=None, sort=["best case", "worst case"]),
        color=alt.Color(
            "stage:N",
            title=None,
            sort=list(STAGES),
            scale=alt.Scale(domain=list(STAGES), range=[COLOURS[stage] for stage in STAGES]),
            legend=alt.Legend(orient="bottom"),
        ),
        order=alt.Order("order:Q"),
        tooltip=[
            alt.Tooltip("stage:N"),
            alt.Tooltip("case:N"),
            alt.Tooltip("ms:Q", title="time (ms)", format=",.1f"),
            alt.Tooltip("share:Q", format=".0%"),
        ],
    )
    return chart.configure_axis(labelFontSize=12, titleFontSize=12).configure_legend(labelFontSize=12)


def _rows(plan: Plan) -> list[dict[str, Any]]:
    timing = plan.timing
    ends = (
        ("best case", timing.first_token_ms.low, {name: timing.stages[name].low for name in STAGES}),
        ("worst case", timing.first_token_ms.high, {name: timing.stages[name].high for name in STAGES}),
    )
    return [
        {"case": case, "stage": name, "order": order, "ms": stages[name], "share": stages[name] / total}
        for case, total, stages in ends
        for order, name in enumerate(STAGES)
    ]
