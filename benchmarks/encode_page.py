"""Write what was measured of `opticnerve encode` into its documentation page: `python benchmarks/encode_page.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "encode.json"
PAGE = Path(__file__).parents[1] / "docs" / "encode.md"
START, END = "<!-- measured -->", "<!-- end of measured -->"
DOLLARS = 0.04
"""Of an hour of one core: what general-purpose cores cost at the large clouds, by the order of magnitude."""
_NAMES = {"bundled": "the bundled encoder", "vit": "a ViT-B/16 of transformers, 224 px tiles"}


def read_results() -> dict[str, Any] | None:
    """Read what was measured; None where nothing was yet."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else None


def measured(result: Mapping[str, Any] | None) -> str:
    """Write the part of the page that is made from the results.

    Args:
        result: what `benchmarks/encode_images.py` wrote; None where nothing was measured yet.
    """
    if result is None:
        return f"{START}\n\nNot measured yet.\n\n{END}"
    parts = [text for key, case in result.items() for text in _case(key, case)]
    return "\n\n".join([START, *parts, *_estimate(result), END])


def _case(key: str, case: Mapping[str, Any]) -> list[str]:
    encoder, precision = key.split()
    ways = case["ways"]
    ours = ways["opticnerve"]
    rounds = f"{case['rounds']} round{'s' if case['rounds'] > 1 else ''}"
    head = (
        f"**{_NAMES[encoder]}, computing in {precision}**: {ours['images']} pictures, {ours['tiles']:,} tiles; "
        f"{rounds}, "
        f"{case['threads']} threads, {case['workers']} worker, {case['cpu']}, {case['cores']} cores, torch "
        f"{case['torch']}, {case['date']}, commit `{case['commit']}`. Load before it began: {case['load_before']:.2f}"
        f"{' (**high**: with what ran just before)' if case['load_before'] > case['cores'] / 2 else ''}."
    )
    lines = [
        "| way | images/s | time, ours = 1 | seconds of all cores | largest memory, MiB |",
        "|---|---|---|---|---|",
    ]
    for way, row in ways.items():
        rate = f"{row['images'] / row['seconds']:.2f}"
        cells = [way, rate, f"{row['times_as_long']:.2f}", f"{row['cpu_seconds']:.0f}", f"{row['peak_mib']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return [head, "\n".join(lines)]


def _estimate(result: Mapping[str, Any]) -> list[str]:
    """Say what a million and a billion of these pictures take, by the rates above."""
    lines = [
        "| encoder | for | core-hours | on 1,000 cores | dollars | features in bf16 |",
        "|---|---|---|---|---|---|",
    ]
    for key, case in result.items():
        encoder, precision = key.split()
        row = case["ways"]["opticnerve"]
        core_s = row["seconds"] * case["cores"] / row["images"]
        for count, name in ((10**6, "a million"), (10**9, "a billion")):
            hours = core_s * count / 3600
            size = row["bytes"] / row["images"] * count
            cells = [
                f"{_NAMES[encoder]}, {precision}",
                name,
                f"{hours:,.0f}",
                _time(hours / 1000),
                f"{hours * DOLLARS:,.0f}",
                f"{size / 1e12:,.1f} TB",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return ["### A million, a billion", "\n".join(lines)]


def _time(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:,.0f} days"


def main() -> None:
    """Run the script."""
    block = measured(read_results())
    text = PAGE.read_text()
    PAGE.write_text(re.sub(f"{START}.*{END}", lambda _: block, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
