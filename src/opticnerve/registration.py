"""transformers' Auto classes learn to know this library's models, whichever of the two is imported first.

Importing `opticnerve` must stay instant, so nothing heavy is imported here. transformers finds its own models lazily,
by names in four tables; the names of ours are added to each table as soon as its module has been imported. The classes
are looked for in `transformers.models.opticnerve`, which is served from here and takes them from `opticnerve.vlm` when
they are first asked for.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from types import MappingProxyType, ModuleType
from typing import Any

MODEL_TYPE = "opticnerve"
"""What stands in `config.json` as model type."""

_AUTO = "transformers.models.auto."
_SERVED = f"transformers.models.{MODEL_TYPE}"
_CONFIG = "OpticNerveConfig"

_TABLES: Mapping[str, Mapping[str, str | dict[str, str]]] = MappingProxyType(
    {
        f"{_AUTO}configuration_auto": {"CONFIG_MAPPING": _CONFIG},
        f"{_AUTO}modeling_auto": {
            "MODEL_MAPPING": "OpticNerveModel",
            "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING": "OpticNerveForConditionalGeneration",
            "MODEL_FOR_MULTIMODAL_LM_MAPPING": "OpticNerveForConditionalGeneration",
        },
        f"{_AUTO}image_processing_auto": {"IMAGE_PROCESSOR_MAPPING": {"pil": "OpticNerveImageProcessor"}},
        f"{_AUTO}processing_auto": {"PROCESSOR_MAPPING": "OpticNerveProcessor"},
    }
)
"""Module -> name of its table -> name of our class."""


class _Finder(MetaPathFinder):
    """Serves our module, and lets the four modules with tables be loaded as ever, then adds our names."""

    def find_spec(
        self,
        fullname: str,
        path: Any,  # noqa: ANN401 - of a namespace package it is no Sequence
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname == _SERVED:
            return spec_from_loader(fullname, _Server())
        if fullname not in _TABLES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Adder(spec.loader)
        return spec


class _Server(Loader):
    """Fills `transformers.models.opticnerve` with our classes."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        vlm = import_module("opticnerve.vlm")

        module.__dict__.update({name: getattr(vlm, name) for name in vlm.__all__})


class _Adder(Loader):
    """Loads a module as its own loader does, then adds our names to its tables."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _add_names(module)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 what else a loader can do: sources for tracebacks and inspect
        return getattr(self._loader, name)


def register() -> None:
    """Make the Auto classes know `opticnerve`; once is enough."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for name in _TABLES:
        module = sys.modules.get(name)
        if module is not None:
            _add_names(module)


def _add_names(module: ModuleType) -> None:
    for name, value in _TABLES[module.__name__].items():
        table = getattr(module, name, None)
        if table is None:  # an older or a newer transformers, without this task
            continue
        names: dict[str, Any] = table._mapping if hasattr(table, "_mapping") else table._model_mapping
        names[MODEL_TYPE] = value
        if hasattr(table, "_reverse_config_mapping"):
            table._reverse_config_mapping[_CONFIG] = MODEL_TYPE
