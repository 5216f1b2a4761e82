"""Colours, shapes and axes that all charts of the report share."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from opticnerve.arena.report.groups import Group
from opticnerve.planner.charts.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, altair

INK, FAINT, RULE = "#1f2933", "#8a94a0", "#e6e9ed"
"""Text, what stands back, and the lines of a grid."""
STANDINGS: Mapping[str, str] = MappingProxyType(
    {
        "beats them": GREEN,
        "does not beat them": VERMILION,
        "nothing to beat": BLUE,
        "baseline": FAINT,
    }
)
"""Colour of a group by how it stands to the baselines of its budget."""
_METHODS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#882255", "#44AA99", "#999933", "#332288", "#CC6677")
_BASELINES = (BLACK, "#4d4d4d", "#6e6e6e", "#8f8f8f", "#b0b0b0")
_SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down")
_BUDGETS = (BLACK, BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)


def contender_scales(groups: Sequence[Group]) -> tuple[Any, Any]:
    """Return colour and shape of contenders: methods have colours, baselines are grey.

    Args:
        groups: all of the arena.
    """
    alt = altair()
    is_baseline = {one.contender: one.is_baseline for one in groups}
    names = sorted(is_baseline, key=lambda name: is_baseline[name])
    methods = [name for name in names if not is_baseline[name]]
    bases = [name for name in names if is_baseline[name]]
    colours = [_METHODS[index % len(_METHODS)] for index in range(len(methods))]
    colours += [_BASELINES[index % len(_BASELINES)] for index in range(len(bases))]
    shapes = [_SHAPES[(index + index // len(_METHODS)) % len(_SHAPES)] for index in range(len(methods))]
    shapes += [_SHAPES[index % len(_SHAPES)] for index in range(len(bases))]
    legend = alt.Legend(title=None, symbolOpacity=1, columns=1)
    colour = alt.Color("contender:N", sort=names, scale=alt.Scale(domain=names, range=colours), legend=legend)
    shape = alt.Shape("contender:N", sort=names, scale=alt.Scale(domain=names, range=shapes), legend=legend)
    return colour, shape


def budget_scale(groups: Sequence[Group]) -> Any:  # noqa: ANN401 - altair is imported when it is needed
    """Return colours of budgets, from the largest, which is black.

    Args:
        groups: all of the arena.
    """
    alt = altair()
    budgets = sorted({one.tokens for one in groups}, reverse=True)
    colours = [_BUDGETS[index % len(_BUDGETS)] for index in range(len(budgets))]
    return alt.Color(
        "tokens:O",
        sort=budgets,
        scale=alt.Scale(domain=budgets, range=colours),
        legend=alt.Legend(
            title="visual tokens",
            orient="top",
            direction="horizontal",
            symbolOpacity=1,
            symbolType="stroke",
            symbolStrokeWidth=3,
        ),
    )


def dressed(chart: Any, title: str, *subtitle: str) -> Any:  # noqa: ANN401 - as above
    """Give a chart its title and the report's look.

    Args:
        chart: of altair.
        title: what is seen.
        subtitle: how to read it.
    """
    alt = altair()
    head = alt.Title(
        title, subtitle=list(subtitle), anchor="start", offset=14, fontSize=17, subtitleFontSize=12.5,
        subtitleColor="#52606d", subtitlePadding=5, color=INK, subtitleLineHeight=17,
    )  # fmt: skip
    chart = chart.properties(title=head, background="white", padding=14)
    chart = chart.configure_axis(
        labelFontSize=12, titleFontSize=12, titleFontWeight="normal", titleColor="#52606d", labelColor=INK,
        gridColor=RULE, domainColor="#b8c0c9", tickColor="#b8c0c9", titlePadding=8, labelLimit=240,
    )  # fmt: skip
    chart = chart.configure_header(labelFontSize=13, labelFontWeight="bold", labelColor=INK, titleFontSize=12)
    chart = chart.configure_legend(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", symbolSize=80)
    return chart.configure_view(stroke=None)
