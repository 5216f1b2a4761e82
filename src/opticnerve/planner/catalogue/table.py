"""The catalogue as a part of its documentation page."""

from collections.abc import Mapping

from opticnerve.planner.catalogue.rows import Row, devices, encoders, llms, vlms


def catalogue_tables() -> str:
    """Write devices and models as Markdown."""
    return "\n\n".join(
        [
            "### Devices\n",
            _devices(),
            "### Whole models\n",
            _names(vlms()),
            "### Encoders\n",
            _names(encoders()),
            "### LLMs\n",
            _names(llms()),
        ]
    )


def _devices() -> str:
    head = "| name | | TFLOP/s in 16 bits | GB/s | memory, GB | source |\n|---|---|---|---|---|---|"
    return "\n".join([head, *map(_device, devices().values())])


def _device(row: Row) -> str:
    rates = row.facts["flops"]
    rate = next((f"{rates[dtype] / 1e12:,.4g}" for dtype in ("bf16", "fp16") if dtype in rates), None)
    compute = rate or f"{rates['fp32'] / 1e12:,.3g} (32 bits)"
    size = f"{row.facts['bandwidth'] / 1e9:,.4g} | {row.facts['memory_bytes'] / 1e9:,.3g}"
    return f"| `{row.name}` | {row.facts['title']} | {compute} | {size} | {row.source} |"


def _names(rows: Mapping[str, Row]) -> str:
    """List the names of rows, by owner."""
    owners: dict[str, list[str]] = {}
    for row in rows.values():
        owners.setdefault(row.name.rpartition("/")[0], []).append(row.short_name)
    lines = (f"* **{owner}**: {', '.join(names)}" for owner, names in owners.items())
    return f"{len(rows)} of them, each with the address of its source and a date in the package.\n\n" + "\n".join(lines)
