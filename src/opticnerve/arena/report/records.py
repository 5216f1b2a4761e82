"""The numbers of the report as CSV and JSON."""

import csv
import io
import json
import math
from dataclasses import asdict, fields
from typing import Any

from opticnerve.arena.differences import Difference
from opticnerve.arena.intervals import Interval
from opticnerve.arena.report.folder import ArenaFolder, CellFacts
from opticnerve.arena.report.summary import Row, Summary

_FACTS = ("name", *(field.name for field in fields(CellFacts) if field.name != "curve"))


def to_csv(summary: Summary) -> str:
    """Write one line a group; shares and differences lie between 0 and 1, -1 and 1.

    Args:
        summary: of the arena.
    """
    rows = [_flat(row, summary) for row in summary.rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def to_json(summary: Summary, folder: ArenaFolder) -> str:
    """Write everything that the report says, and what was run.

    Args:
        summary: of the arena.
        folder: that it is of.
    """
    settings = folder.settings
    whole = {
        "advice": summary.advice,
        "num_images": summary.num_images,
        "num_questions": summary.num_questions,
        "seeds": summary.seeds,
        "left_out": summary.left_out,
        "missing": folder.missing,
        "groups": [_nested(row) for row in summary.rows],
        "elastic": [{"group": one.cell, "other": one.other, **_compared(one)} for one in summary.elastic],
        "rate_scores": folder.scores,
        "arena": asdict(settings),
    }
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def _nested(row: Row) -> dict[str, Any]:
    group = asdict(row.group)
    return {
        **group,
        "score": asdict(row.score),
        "standing": row.standing,
        "kinds": {kind: asdict(share) for kind, share in row.kinds.items()},
        "heights": [
            {
                "low_px": point.heights.low_px,
                "high_px": _finite(point.heights.high_px),
                "mean_px": point.mean_px,
                "num_questions": point.num_questions,
                "share": asdict(point.share),
            }
            for point in row.heights
        ],
        "smallest_read_px": _finite(row.smallest.px) if row.smallest else None,
        "equal_time_loss": row.equal_time_loss,
        "differences": {one.other: _compared(one) for one in row.versus},
        "to_unreduced": _compared(row.to_unreduced) if row.to_unreduced else None,
    }


def _compared(one: Difference) -> dict[str, Any]:
    return {**asdict(one.interval), "p": one.p, "verdict": one.verdict}


def _flat(row: Row, summary: Summary) -> dict[str, Any]:
    flat: dict[str, Any] = {name: getattr(row.group, name) for name in _FACTS}
    flat |= {"seeds": " ".join(map(str, row.group.seeds)), "standing": row.standing}
    flat |= _interval("score", row.score)
    for kind in summary.kinds:
        if kind in row.kinds:
            flat |= _interval(kind, row.kinds[kind])
    contenders = {one.group.name: one.group.contender for one in summary.rows}
    for one in row.versus:
        name = f"less_{contenders[one.other]}"
        flat |= {**_interval(name, one.interval), f"{name}_verdict": one.verdict}
    return flat


def _interval(name: str, one: Interval) -> dict[str, float]:
    return {name: one.estimate, f"{name}_low": one.low, f"{name}_high": one.high}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
