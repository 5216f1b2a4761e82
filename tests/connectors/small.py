"""Options that make each method small enough to test; everything else stays the paper's default."""

from collections.abc import Mapping
from typing import Any

from opticnerve import METHODS, ConnectorSpec, Grid, method

GRID = Grid(8, 12)
OTHER_GRID = Grid(12, 4)
VISION_DIM = 32
LLM_DIM = 48

SMALL: Mapping[str, Mapping[str, Any]] = {
    "ldpv2": {"out_grid": (4, 6)},
    "perceiver": {"num_latents": 6, "depth": 2, "num_heads": 4, "head_dim": 8},
    "qwen_vl_resampler": {"query_grid": (2, 3)},
    "minicpm_resampler": {"num_queries": 6},
    "qformer": {"num_queries": 6, "hidden_dim": 24, "num_layers": 2, "num_heads": 4, "feed_forward_dim": 48},
    "c_abstractor": {"out_grid": (4, 6), "hidden_dim": 24, "depth": 1, "pos_grid": (8, 12)},
    "d_abstractor": {
        "query_grid": (2, 3),
        "num_layers": 2,
        "hidden_dim": 32,
        "num_heads": 4,
        "ffn_dim": 48,
        "pos_grid": (8, 12),
    },
    "token_packer": {"attn_dim": 32, "num_heads": 4},
}


def small(name: str) -> ConnectorSpec:
    """A method's connector, small."""
    return method(name, **SMALL.get(name, {}))


NAMES = sorted(METHODS)
