"""opticnerve: the part of a vision-language model between the vision encoder and the language model.

Names are imported when they are first used, so that `import opticnerve` and the command line start at once. Importing
it also makes transformers' Auto classes know its models.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from opticnerve import registration as _registration

if TYPE_CHECKING:
    from opticnerve import (
        checkpoints,
        connectors,
        data,
        encode,
        encoders,
        evaluate,
        family,
        multiscale,
        planner,
        tiling,
        train,
        views,
        vlm,
    )
    from opticnerve.checkpoints import export_connector, inspect_checkpoint, load_connector, save_connector
    from opticnerve.connectors import IN, LLM, METHODS, VISION, Connector, ConnectorSpec, Width, method, methods
    from opticnerve.errors import OpticNerveError
    from opticnerve.grid import Grid, Queries
    from opticnerve.planner import plan
    from opticnerve.vlm import graft

__version__ = "0.1.0"

__all__ = [
    "IN",
    "LLM",
    "METHODS",
    "VISION",
    "Connector",
    "ConnectorSpec",
    "Grid",
    "OpticNerveError",
    "Queries",
    "Width",
    "checkpoints",
    "connectors",
    "data",
    "encode",
    "encoders",
    "evaluate",
    "export_connector",
    "family",
    "graft",
    "inspect_checkpoint",
    "load_connector",
    "method",
    "methods",
    "multiscale",
    "plan",
    "planner",
    "save_connector",
    "tiling",
    "train",
    "views",
    "vlm",
]

_PACKAGES = {
    "checkpoints",
    "connectors",
    "data",
    "encode",
    "encoders",
    "evaluate",
    "family",
    "multiscale",
    "planner",
    "tiling",
    "train",
    "views",
    "vlm",
}
"""The names of `__all__` that are packages."""

_HOMES = {
    "Grid": "opticnerve.grid",
    "OpticNerveError": "opticnerve.errors",
    "Queries": "opticnerve.grid",
    "export_connector": "opticnerve.checkpoints",
    "graft": "opticnerve.vlm",
    "inspect_checkpoint": "opticnerve.checkpoints",
    "load_connector": "opticnerve.checkpoints",
    "plan": "opticnerve.planner",
    "save_connector": "opticnerve.checkpoints",
}
"""Where the names of `__all__` live, other than in `opticnerve.connectors`."""


def __getattr__(name: str) -> object:
    """Import a public name (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _PACKAGES:
        return import_module(f"opticnerve.{name}")
    return getattr(import_module(_HOMES.get(name, "opticnerve.connectors")), name)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted([*__all__, "__version__"])


_registration.register()
