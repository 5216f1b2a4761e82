"""JSON files that are whole, or not there."""

import json
from pathlib import Path
from typing import Any


def write_json(path: Path, data: object) -> None:
    """Write a file under another name first, so that nobody sees half of it.

    Args:
        path: what is there is replaced.
        data: plain values.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"tmp-{path.name}")
    draft.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Read what `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
