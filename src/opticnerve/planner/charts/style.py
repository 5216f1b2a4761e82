"""Colours and shapes of the charts, and the library that draws them."""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from opticnerve.errors import PlanError

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GRAY = "#0072B2", "#D55E00", "#CC79A7", "#8A8A8A"
"""Colours that people with any colour vision tell apart. Source: Okabe and Ito, "Color Universal Design", 2008."""

METHODS: Mapping[str, str] = {
    "mlp": BLACK,
    "pixel_shuffle": BLUE,
    "concat_mlp": SKY,
    "pool": ORANGE,
    "ldpv2": GREEN,
    "qwen_vl_resampler": PURPLE,
    "S2": VERMILION,
}
"""Colours of the methods that are compared."""
TILINGS: Mapping[str, str] = {
    "plain": "circle",
    "internvl": "square",
    "anyres": "diamond",
    "minicpm": "triangle-up",
    "qwen": "cross",
    "tokenpacker_hd": "triangle-down",
    "dynamic_s2": "triangle-right",
    "idefics3": "triangle-left",
    "pixtral": "wedge",
}
"""Shapes of the tilings."""
STAGES: Mapping[str, str] = {"preprocess": GRAY, "encode": BLUE, "connect": GREEN, "prefill": ORANGE}
"""Colours of the stages until the first token."""


def altair() -> ModuleType:
    """Import what draws.

    Raises:
        PlanError: it is not installed.
    """
    try:
        _ = import_module("vl_convert")  # pictures and pages are made with it
        return import_module("altair")
    except ImportError as error:
        raise PlanError("charts need altair and vl-convert-python: pip install 'opticnerve[report]'") from error
