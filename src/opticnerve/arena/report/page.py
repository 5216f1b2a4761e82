"""The page: everything on it, and nothing from elsewhere."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from opticnerve.arena.report.examples import show_examples
from opticnerve.arena.report.folder import ArenaFolder
from opticnerve.arena.report.summary import Summary
from opticnerve.arena.report.tables import differences_table, elastic_table, groups_table, kinds_table, rates_table
from opticnerve.arena.report.wording import ABOUT_LARGE_MODELS, plural, safe

_CSS = Path(__file__).with_name("page.css")
_DRAW = """
const menu = { export: true, source: false, compiled: false, editor: false };
for (const [name, chart] of Object.entries(charts))
  vegaEmbed("#" + name, chart, { actions: menu, renderer: "svg", downloadFileName: name });
"""


def make_page(folder: ArenaFolder, summary: Summary, charts: Mapping[str, dict[str, Any]], library: str) -> str:
    """Write the page.

    Args:
        folder: of the arena.
        summary: what was found.
        charts: specifications of Vega-Lite, by name; the first stands at the top.
        library: the JavaScript that draws them.
    """
    name = safe(folder.settings.config.get("name", folder.path.name))
    places = {name: f'<div class="card chart"><div id="{name}"></div></div>\n' for name in charts}
    first = places.pop("ranking")
    # a name in the data must not end the script
    data = json.dumps(dict(charts)).replace("</", "<\\/")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Arena: {name}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<style>\n{_CSS.read_text()}</style>\n</head>\n<body>\n"
        f"<header><h1>Arena: {name}</h1><p>Which method, at which budget of visual tokens?</p></header>\n"
        f"{_unfinished(folder, summary)}{_advice(folder, summary)}{first}"
        f"{_card('Differences to the baselines', _NOTE_DIFFERENCES, differences_table(summary))}"
        f"{places.pop('tokens')}{_elastic(summary)}{places.pop('time')}{places.pop('glyphs', '')}"
        f"{_card('By kind of question', _NOTE_KINDS, kinds_table(summary))}"
        f"{_card('All groups, and what they cost', _note_groups(summary), groups_table(summary))}"
        f"{''.join(places.values())}"
        f"{_card('Learning rates', _NOTE_RATES, rates_table(summary, folder.scores))}"
        f"{_examples(folder)}{_about()}{_settings(folder, summary)}"
        f"<script>{library}</script>\n<script>const charts = {data};{_DRAW}</script>\n</body>\n</html>\n"
    )


_NOTE_DIFFERENCES = (
    "Exact match of the method less that of a baseline with the same number of visual tokens, question by question, in"
    " points. All verdicts together keep the error rate (Holm); intervals are not widened for it."
)
_NOTE_ELASTIC = (
    "One connector, trained with its budgets by turns in as many steps as others have for one, and asked at each of"
    " them: exact match less that of a connector of the same method that was trained for the budget alone, question by"
    " question, in points. All verdicts together keep the error rate (Holm)."
)
_NOTE_KINDS = "Exact match in percent, with its interval. The darker, the more."
_NOTE_RATES = (
    "Every group searched the same factors on all learning rates, with the first seed, for the same number of steps."
    " Exact match in percent on the validation split; the test split chose nothing."
)


def _note_groups(summary: Summary) -> str:
    covers = summary.rows[0].score.covers
    return (
        f"Intervals cover {covers}. FLOPs and the KV cache are of one image, counted; milliseconds are measured. Loss"
        " at equal training time: of the last stage, at the moment when the quickest of the same budget had finished."
    )


def _card(title: str, note: str, content: str, kind: str = "") -> str:
    words = f'<p class="note">{safe(note)}</p>' if note else ""
    return f'<section class="card {kind}"><h2>{safe(title)}</h2>{words}{content}</section>\n'


def _unfinished(folder: ArenaFolder, summary: Summary) -> str:
    if not folder.missing:
        return ""
    left_out = (
        f"<p>Not compared, since they lack a seed that the others have: {safe(', '.join(summary.left_out))}.</p>"
        if summary.left_out
        else ""
    )
    rest = plural(len(folder.missing), "cell")
    return _card(
        f"Unfinished: {rest} missing",
        "Everything below is of what is there. Run the same command again to continue.",
        f"<p>{safe('; '.join(folder.missing))}</p>{left_out}",
        "unfinished",
    )


def _advice(folder: ArenaFolder, summary: Summary) -> str:
    words = "".join(f"<p>{safe(sentence.replace(' +- ', ' ± '))}</p>" for sentence in summary.advice)
    facts = {
        "contenders": len({row.group.contender for row in summary.rows}),
        "groups": len(summary.rows),
        "seeds compared": len(summary.seeds),
        "test images": summary.num_images,
        "questions each": summary.num_questions,
        "error rate": f"{folder.settings.error_rate:.0%}",
    }
    told = "".join(f"<li><b>{safe(value)}</b>{safe(name)}</li>" for name, value in facts.items())
    return _card("Recommendation", "", f'{words}<ul class="facts">{told}</ul>', "advice")


def _elastic(summary: Summary) -> str:
    return _card("One connector for several budgets", _NOTE_ELASTIC, elastic_table(summary)) if summary.elastic else ""


def _examples(folder: ArenaFolder) -> str:
    shown = show_examples(folder)
    if not shown:
        return ""
    note = "Pages of the test, what selections kept of them (the rest is veiled), and the answers of the first seed."
    return _card("Examples", note, shown)


def _about() -> str:
    words = "".join(f"<p>{safe(sentence)}</p>" for sentence in ABOUT_LARGE_MODELS)
    return _card("What this says about large models", "", words)


def _settings(folder: ArenaFolder, summary: Summary) -> str:
    settings = folder.settings
    seeds = settings.config.get("seeds") or summary.seeds
    facts = {
        "date": settings.date,
        "hardware": settings.hardware,
        "seeds": list(seeds),
        **{f"version of {name}": version for name, version in settings.versions.items()},
    }
    rows = "".join(f"<dt>{safe(name)}</dt><dd>{safe(_plain(value))}</dd>" for name, value in facts.items() if value)
    command = f"<pre>{safe(settings.command)}</pre>" if settings.command else ""
    config = safe(yaml.safe_dump(settings.config, sort_keys=False, allow_unicode=True, width=100))
    whole = f"<details open><summary>The whole configuration</summary><pre>{config}</pre></details>"
    return _card("How to run it again", "", f"<dl>{rows}</dl>{command}{whole if settings.config else ''}")


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        facts = cast("Mapping[str, object]", value)
        return "; ".join(f"{name}: {_plain(one)}" for name, one in facts.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, cast("list[object]", value)))
    return str(value)
