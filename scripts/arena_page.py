"""Write what an arena found into its documentation page: `python scripts/arena_page.py build/arena`.

The charts go to `docs/assets/arena`, with the numbers as CSV. `make arena` runs the default arena first.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from opticnerve.arena.differences import Difference, compare_with_best, enough_draws
from opticnerve.arena.intervals import seed_noise
from opticnerve.arena.report import write_report
from opticnerve.arena.report.folder import ArenaFolder, read_folder
from opticnerve.arena.report.groups import tabulate_replies
from opticnerve.arena.report.summary import Row, Summary, summarise
from opticnerve.arena.report.wording import amount, ends, kibibytes, plural, points

PAGE = Path(__file__).parents[1] / "docs" / "arena-report.md"
ASSETS = "assets/arena"
"""Beside the page."""
SECONDS = "seconds"
"""In the arena's folder: how long each run into it took, a line each."""
CHARTS: Mapping[str, str] = {
    "ranking": "Groups by exact match, with intervals, coloured by how they stand to their baselines",
    "tokens": "Exact match against visual tokens per image, with what nothing beats",
    "time": "Exact match against milliseconds to the first token, with what nothing beats",
    "glyphs": "Share of codes read against the height of type, a line for each budget",
    "curves": "Loss of the last stage against its steps",
}
_COLOURS = 200
"""Of a picture: enough for charts, at a fifth of the bytes."""
START, END = "<!-- measured by the arena -->", "<!-- end of measured by the arena -->"
"""Around what is written here; the rest of the page is written by hand."""


def measured(
    folder: ArenaFolder,
    summary: Summary,
    *,
    charts: Sequence[str],
    commit: str = "",
    seconds: Sequence[float] = (),
    note: str = "",
) -> str:
    """Write the part of the page that is made from an arena.

    Args:
        folder: of the arena.
        summary: what was found.
        charts: names of those that there are, keys of `CHARTS`.
        commit: of the library that ran it.
        seconds: how long each run into the folder took.
        note: a sentence about how it ran.
    """
    drawn = {name: f"![{CHARTS[name]}]({ASSETS}/{name}.png)" for name in CHARTS if name in charts}
    parts = [
        START,
        "## Recommendation",
        "\n".join(f"* {sentence}" for sentence in summary.advice),
        drawn.get("ranking", ""),
        "## How it ran",
        _facts(folder, summary, commit=commit, minutes=_minutes(seconds, note)),
        "## Methods and budgets",
        f"Exact match in percent over all questions, with its interval over {summary.rows[0].score.covers}. **Bold**:"
        " beats every baseline of its budget. *Italic*: a baseline.",
        _table(*_scores(summary)),
        drawn.get("tokens", ""),
        "## What they cost",
        "Milliseconds are measured, on one thread; the rest is counted. Operations are those of encoder, connector and"
        " prefill; the cache is that of the visual tokens.",
        _table(*_costs(summary)),
        drawn.get("time", ""),
        "## What is not separable",
        "The best of each budget against all others of that budget, in points, paired by question and seed. Verdicts"
        " allow for the number of cells that could have come out best by luck.",
        _table(*_separable(folder, summary)),
        "Methods against the baselines of their budget. All verdicts together keep the error rate (Holm); intervals are"
        " not widened for it.",
        _table(*_unbeaten(summary)),
        "## By kind of question",
        "Exact match in percent.",
        _table(*_kinds(summary)),
        drawn.get("glyphs", ""),
        "## How far apart",
        "\n".join(f"* {line}" for line in _spreads(summary)),
        drawn.get("curves", ""),
        END,
    ]
    return "\n\n".join(part for part in parts if part)


def _minutes(seconds: Sequence[float], note: str) -> str:
    stops = f", in {len(seconds)} runs: it was stopped in between." if len(seconds) > 1 else ""
    return " ".join(part for part in (" + ".join(f"{one / 60:.0f}" for one in seconds) + stops, note) if part)


def _facts(folder: ArenaFolder, summary: Summary, *, commit: str, minutes: str) -> str:
    settings = folder.settings
    hardware: Any = settings.hardware
    if isinstance(hardware, Mapping):
        hardware = ", ".join(f"{str(name).replace('_', ' ')}: {value}" for name, value in hardware.items())
    facts = {
        "command": f"`{_command(settings.command)}`" if settings.command else "",
        "commit": f"`{commit}`" if commit else "",
        "date": settings.date[:10],
        "hardware": hardware,
        "versions": ", ".join(f"{name} {version}" for name, version in settings.versions.items()),
        "minutes": minutes,
        "asked": f"{summary.num_questions:,} questions about {summary.num_images:,} pages, with seeds"
        f" {', '.join(map(str, summary.seeds))}",
        "missing": "; ".join(folder.missing),
    }
    return _table(("", ""), [(name, value) for name, value in facts.items() if value])


def _command(text: str) -> str:
    """Leave out where results went to: it is of that machine."""
    words = shlex.split(text)
    places = [index for index, word in enumerate(words) if word == "--out"]
    return shlex.join(word for index, word in enumerate(words) if index not in places and index - 1 not in places)


def _budgets(summary: Summary) -> list[int]:
    return sorted({row.group.tokens for row in summary.rows}, reverse=True)


def _of_budget(summary: Summary, tokens: int) -> list[Row]:
    return [row for row in _ordered(summary) if row.group.tokens == tokens]


def _ordered(summary: Summary) -> list[Row]:
    return sorted(summary.rows, key=lambda row: (-row.group.tokens, -row.score.estimate))


def _scores(summary: Summary) -> tuple[Sequence[str], list[Sequence[str]]]:
    budgets = _budgets(summary)
    found = {(row.group.contender, row.group.tokens): row for row in summary.rows}
    names = list(dict.fromkeys(row.group.contender for size in budgets[::-1] for row in _of_budget(summary, size)))
    rows = [(name, *(_score(found[name, size]) if (name, size) in found else "" for size in budgets)) for name in names]
    return ("method", *(f"{size} tokens" for size in budgets)), rows


def _score(row: Row) -> str:
    mark = {"beats them": "**", "baseline": "*"}.get(row.standing, "")
    return f"{mark}{100 * row.score.estimate:.1f}{mark} ({ends(row.score)})"


def _costs(summary: Summary) -> tuple[Sequence[str], list[Sequence[str]]]:
    head = (
        "group", "tokens", "looks at", "first token, ms", "operations", "cache", "trained parameters", "training, s",
        "rate", "loss at equal training time",
    )  # fmt: skip
    rows = [
        (
            row.group.name, str(row.group.tokens), row.group.view, f"{row.group.first_token_ms:.1f}",
            amount(row.group.flops), kibibytes(row.group.kv_bytes), amount(row.group.trainable_params),
            f"{row.group.train_seconds:.0f}", f"x {row.group.rate:g}",
            "" if row.equal_time_loss is None else f"{row.equal_time_loss:.3f}",
        )
        for row in _ordered(summary)
    ]  # fmt: skip
    return head, rows


def _separable(folder: ArenaFolder, summary: Summary) -> tuple[Sequence[str], list[Sequence[str]]]:
    table = tabulate_replies(folder.results)
    fair = table.where(np.isin(table.seed, summary.seeds) & ~np.isin(table.cell, summary.left_out))
    noise = seed_noise(fair, fair.cells) if min(len(summary.seeds), len(fair.cells)) > 1 else None
    error_rate = folder.settings.error_rate
    rows: list[Sequence[str]] = []
    for size in _budgets(summary):
        cells = [row.group.name for row in _of_budget(summary, size) if row.group.name in fair.cells]
        if len(cells) > 1:
            draws = enough_draws(len(cells), error_rate=error_rate)
            rng = np.random.default_rng(0)
            found = compare_with_best(fair, cells, rng=rng, error_rate=error_rate, noise=noise, num_draws=draws)
            (best,) = {one.other for one in found}
            level, worse = (_listed(found, verdict, "cell") for verdict in ("not separable", "worse"))
            rows.append((str(size), best, level or "none", worse or "none"))
    return ("tokens", "best", "not separable from it", "worse"), rows


def _listed(found: Sequence[Difference], verdict: str, name: str) -> str:
    return "<br>".join(f"{getattr(one, name)} {points(one)}" for one in found if one.verdict == verdict)


def _unbeaten(summary: Summary) -> tuple[Sequence[str], list[Sequence[str]]]:
    verdicts = ("better", "not separable", "worse")
    rows = [
        (row.group.name, *(_listed(row.versus, verdict, "other") for verdict in verdicts))
        for row in _ordered(summary)
        if row.versus
    ]
    return ("method", "better than", "not separable from", "worse than"), rows


def _kinds(summary: Summary) -> tuple[Sequence[str], list[Sequence[str]]]:
    rows = [
        (
            row.group.name,
            *(f"{100 * row.kinds[kind].estimate:.0f}" if kind in row.kinds else "" for kind in summary.kinds),
        )
        for size in _budgets(summary)
        for row in _of_budget(summary, size)
    ]
    return ("group", *summary.kinds), rows


def _spreads(summary: Summary) -> Iterator[str]:
    """Say how far methods lie apart, and how far budgets do."""
    sizes = [size for size in _budgets(summary) if len(_of_budget(summary, size)) > 1]
    for size in sizes:
        for is_baseline, what in ((False, "methods"), (True, "baselines")):
            rows = [row for row in _of_budget(summary, size) if row.group.is_baseline is is_baseline]
            if len(rows) > 1:
                best, last = rows[0], rows[-1]
                yield (
                    f"{what.capitalize()} at {size} tokens: from {100 * last.score.estimate:.1f} %"
                    f" ({last.group.contender}) to {100 * best.score.estimate:.1f} % ({best.group.contender}),"
                    f" {100 * (best.score.estimate - last.score.estimate):.1f} points."
                )
    found = {(row.group.contender, row.group.tokens): row.score.estimate for row in summary.rows}
    for large, small in pairwise(sizes):
        names = [name for name, size in found if size == large and (name, small) in found]
        lost = sorted((100 * (found[name, large] - found[name, small]), name) for name in names)
        if lost:
            middle = float(np.median([one for one, _ in lost]))
            yield (
                f"From {large} to {small} tokens: {middle:.1f} points less in the median of"
                f" {plural(len(lost), 'contender')}, from {lost[0][0]:.1f} ({lost[0][1]}) to {lost[-1][0]:.1f}"
                f" ({lost[-1][1]})."
            )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of an arena")
    parser.add_argument("--commit", default="", help="of the library that ran it")
    parser.add_argument("--note", default="", help="a sentence about how it ran")
    parser.add_argument("--page", type=Path, default=PAGE, help="where it stands; its charts go beside it")
    options = parser.parse_args()
    files = {path.name: path for path in write_report(options.folder)}
    charts = [name for name in CHARTS if f"{name}.png" in files]
    seconds = options.folder / SECONDS
    runs = [float(one) for one in seconds.read_text().split()] if seconds.exists() else []
    folder = read_folder(options.folder)
    runs = [one for one in runs if one > 60]  # shorter ones found everything done
    block = measured(folder, summarise(folder), charts=charts, commit=options.commit, seconds=runs, note=options.note)
    assets = options.page.parent / ASSETS
    assets.mkdir(parents=True, exist_ok=True)
    for name in (f"{chart}.png" for chart in charts):
        Image.open(files[name]).convert("RGB").quantize(_COLOURS).save(assets / name, optimize=True)
    (assets / "results.csv").write_bytes(files["results.csv"].read_bytes())
    text = re.sub(f"{START}.*{END}", lambda _: block, options.page.read_text(), flags=re.DOTALL)
    options.page.write_text(text)
    print(f"written: {options.page}")


if __name__ == "__main__":
    main()
