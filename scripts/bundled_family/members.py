"""The members of the bundled family: one connector for each of the survey's six methods."""

from __future__ import annotations

from typing import Any

PAGE: dict[str, Any] = {"tiling": "plain", "tiling_options": {"height_px": 512, "width_px": 512, "fit": "stretch"}}
"""One view of 512 x 512 px: 32 x 32 features."""

MEMBERS: dict[str, dict[str, Any]] = {
    "pixel_shuffle": {**PAGE, "method": "pixel_shuffle"},
    "concat_mlp": {**PAGE, "method": "concat_mlp", "method_options": {"hidden": [128]}},
    "pool": {**PAGE, "method": "pool"},
    "ldpv2": {**PAGE, "method": "ldpv2", "method_options": {"out_grid": [12, 12]}},
    "resampler": {**PAGE, "method": "qwen_vl_resampler", "method_options": {"query_grid": [8, 8], "head_dim": 32}},
    "s2_pool": {"tiling": "plain", "scales": [1, 2], "method": "pool"},
}
"""Model settings by name: 256, 256, 256, 144, 64 and 64 visual tokens for an image."""
