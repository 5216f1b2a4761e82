"""An arena that runs in seconds: the bundled encoder at 64 px, a few pages, a few steps."""

from typing import Any

import yaml

from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.load import load_arena

PAGES = [{"kind": "reading", "num_samples": 8, "level": 0.0}]
STAGE: dict[str, Any] = {
    "data": PAGES,
    "batch_size": 4,
    "micro_batch_size": 4,
    "steps": 2,
    "precision": "fp32",
    "cache_features": True,
}
SETTINGS: dict[str, Any] = {
    "name": "small",
    "views": [{"name": "64 px", "tiling_options": {"height_px": 64, "width_px": 64}}],
    "contenders": [
        {"name": "divprune", "align_options": {"reduction": 1}, "at": {4: {"method": "divprune"}}},
    ],
    "reductions": [4],
    "seeds": [0, 1],
    "rates": [0.5, 2.0],
    "search_share": 0.5,
    "validation": {"kind": "reading", "split": "validation", "num_samples": 2, "level": 0.0},
    "test": {"kind": "reading", "split": "test", "num_samples": 3, "level": 0.0},
    "max_new_tokens": 4,
    "stages": [
        {"name": "align", "open": {"connector": 1e-2, "objective": 1e-2}, "objective": {"kind": "alignment"}, **STAGE},
        {"name": "tune", "open": {"connector": 1e-2, "llm": 1e-2}, **STAGE},
    ],
}


def small(path: Any, **changes: Any) -> ArenaConfig:
    """Write the arena into a folder, and read it."""
    file = path / "small.yaml"
    file.write_text(yaml.safe_dump({**SETTINGS, **changes}))
    return load_arena(file)
