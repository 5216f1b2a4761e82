"""The tables of the page."""

from collections.abc import Iterable, Mapping, Sequence

from opticnerve.arena.differences import Difference
from opticnerve.arena.report.summary import READS, Row, Summary
from opticnerve.arena.report.wording import amount, ends, kibibytes, points, safe

_MARKS: Mapping[str, str] = {
    "beats them": '<span class="mark good">beats them</span>',
    "does not beat them": '<span class="mark bad">does not beat them</span>',
    "baseline": '<span class="mark plain">baseline</span>',
    "nothing to beat": '<span class="mark plain">no baseline of this budget</span>',
}


def groups_table(summary: Summary) -> str:
    """Show every group: its score, how it stands, and all that it costs.

    Args:
        summary: of the arena.
    """
    head = (
        "group", "visual tokens", "exact match, %", "baselines of its budget", "against every patch kept, points",
        f"smallest glyph read at {READS:.0%}", "first token, ms", "FLOPs: encoder + connector + prefill", "KV cache",
        "trained params", "training, s", "loss at equal training time", "seeds",
    )  # fmt: skip
    return _table(head, ((_name(row), *_cells(row)) for row in _ordered(summary)))


def differences_table(summary: Summary) -> str:
    """Show the paired difference of every method to each baseline of its budget.

    Args:
        summary: of the arena.
    """
    bases = [row.group.contender for row in summary.rows if row.group.is_baseline and not row.group.is_unreduced]
    names = list(dict.fromkeys(bases))
    contenders = {row.group.name: row.group.contender for row in summary.rows}
    rows: list[Sequence[str]] = []
    for row in _ordered(summary):
        if not row.group.is_baseline:
            found = {contenders[one.other]: one for one in row.versus}
            cells = [_difference(found.get(name)) for name in names]
            rows.append((_name(row), str(row.group.tokens), *cells, _MARKS[row.standing]))
    head = ("method", "visual tokens", *(f"less {name}, points" for name in names), "verdict")
    return _table(head, rows)


def elastic_table(summary: Summary) -> str:
    """Show what one connector for several budgets scores at each, beside one that was trained for it alone.

    Args:
        summary: of the arena.
    """
    rows = {row.group.name: row for row in summary.rows}
    score = "exact match, %"
    head = ("one connector for all", "visual tokens", score, "one for each", score, "less that, points")
    body: list[Sequence[str]] = []
    for one in summary.elastic:
        mine, other = rows[one.cell], rows[one.other]
        body.append((_name(mine), str(mine.group.tokens), _score(mine), _name(other), _score(other), _difference(one)))
    return _table(head, body)


def kinds_table(summary: Summary) -> str:
    """Show exact match for each kind of question.

    Args:
        summary: of the arena.
    """
    rows = (
        (_name(row), str(row.group.tokens), *(_share(row, kind) for kind in summary.kinds)) for row in _ordered(summary)
    )
    return _table(("group", "visual tokens", *summary.kinds), rows)


def rates_table(summary: Summary, scores: Mapping[str, Mapping[str, float]]) -> str:
    """Show what the search of learning rates found: all scores on the validation split, and what was chosen.

    Args:
        summary: of the arena.
        scores: of each group, by factor.
    """
    factors = sorted({factor for found in scores.values() for factor in found}, key=float)
    rows: list[Sequence[str]] = []
    for row in _ordered(summary):
        found = scores.get(row.group.name, {})
        cells = [
            _chosen(f"{100 * found[factor]:.1f}" if factor in found else "", float(factor) == row.group.rate)
            for factor in factors
        ]
        rows.append((_name(row), *cells, f"{row.group.rate:g}"))
    return _table(("group", *(f"x {float(factor):g}" for factor in factors), "chosen"), rows)


def _ordered(summary: Summary) -> list[Row]:
    return sorted(summary.rows, key=lambda row: (-row.group.tokens, -row.score.estimate))


def _cells(row: Row) -> tuple[str, ...]:
    one = row.group
    return (
        str(one.tokens),
        _score(row),
        _MARKS[row.standing],
        _difference(row.to_unreduced),
        safe(row.smallest).replace(" (", "<br><small>(") + "</small>" if row.smallest else "",
        f"{one.first_token_ms:.1f}",
        f"{amount(one.flops)}<br><small>{amount(one.encoder_flops)} + {amount(one.connector_flops)}"
        f" + {amount(one.prefill_flops)}</small>",
        kibibytes(one.kv_bytes),
        amount(one.trainable_params),
        f"{one.train_seconds:.0f}",
        "" if row.equal_time_loss is None else f"{row.equal_time_loss:.3f}",
        ", ".join(map(str, one.seeds)),
    )


def _score(row: Row) -> str:
    return f"<b>{100 * row.score.estimate:.1f}</b><br><small>{ends(row.score)}</small>"


def _difference(one: Difference | None) -> str:
    if one is None:
        return ""
    kind = {"better": "good", "worse": "bad"}.get(one.verdict, "same")
    return f'<span class="{kind}">{points(one)}<br><small>{one.verdict}</small></span>'


def _share(row: Row, kind: str) -> str:
    found = row.kinds.get(kind)
    if found is None:
        return ""
    shade = f"background: rgba(0, 114, 178, {0.42 * found.estimate:.3f})"
    return (
        f'<span class="shade" style="{shade}"><b>{100 * found.estimate:.1f}</b> <small>{ends(found, 0)}</small></span>'
    )


def _chosen(text: str, is_chosen: bool) -> str:
    return f"<b>{text}</b>" if is_chosen else text


def _name(row: Row) -> str:
    one = row.group
    method = "" if one.method == one.contender else f"{safe(one.method)}, "
    shared = ", one connector for all budgets" if one.is_elastic else ""
    return f"<b>{safe(one.contender)}</b> {one.reduction}x<br><small>{method}{safe(one.view)}{shared}</small>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{safe(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>'
