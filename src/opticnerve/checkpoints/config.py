"""A checkpoint's settings: its config.json, with transformers' defaults where transformers knows the model type."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from opticnerve.errors import CheckpointError

_NOTHING = object()


class Config:
    """Settings that are looked up by a dotted path, such as "vision_config.hidden_size".

    Args:
        values: plain values, or a config of transformers; None where the checkpoint has none.
        source: what messages call the checkpoint.
    """

    def __init__(self, values: object = None, *, source: str = "the checkpoint") -> None:
        self.values: Any = {} if values is None else values
        self.source = source

    @staticmethod
    def of(values: Mapping[str, Any], *, source: str = "the checkpoint") -> "Config":
        """Take plain values, and fill in what transformers leaves out of the file because it is a default.

        Args:
            values: the content of config.json.
            source: what messages call the checkpoint.

        Raises:
            CheckpointError: transformers knows the model type, and refuses the values.
        """
        from huggingface_hub.errors import StrictDataclassError
        from transformers import CONFIG_MAPPING

        kind = str(values.get("model_type", ""))
        if kind not in CONFIG_MAPPING:
            return Config(dict(values), source=source)
        try:
            return Config(cast(Any, CONFIG_MAPPING)[kind].from_dict(_with_infinities(values)), source=source)
        except (AttributeError, KeyError, TypeError, ValueError, StrictDataclassError) as error:
            raise CheckpointError(f'config.json of {source} is no config of model type "{kind}": {error}') from error

    @staticmethod
    def default(model_type: str) -> "Config":
        """Return the default config of one of transformers' model types."""
        from transformers import CONFIG_MAPPING
        from transformers.utils import logging

        before = logging.get_verbosity()
        logging.set_verbosity_error()  # some defaults contradict each other, and say so
        try:
            return Config(cast(Any, CONFIG_MAPPING)[model_type](), source=f"the default {model_type}")
        finally:
            logging.set_verbosity(before)

    @staticmethod
    def read(path: Path, *, source: str) -> "Config":
        """Read a JSON file.

        Raises:
            CheckpointError: it is not a JSON object.
        """
        try:
            values = json.loads(path.read_text())
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CheckpointError(f"cannot read {path}: {error}") from error
        if not isinstance(values, dict):
            raise CheckpointError(f"{path} must hold a JSON object, got a {type(values).__name__}")
        return Config.of(cast("dict[str, Any]", values), source=source)

    @property
    def model_type(self) -> str:
        """The model type, "" where there is none."""
        return str(self.get("model_type", "") or "")

    @property
    def is_known(self) -> bool:
        """Whether there are any settings."""
        return self.values != {}

    def get(self, path: str, default: Any = _NOTHING) -> Any:  # noqa: ANN401
        """Look a setting up.

        Args:
            path: names with dots between.
            default: what is returned where the setting is not there; without it, that is an error.

        Raises:
            CheckpointError: the setting is not there, and there is no default.
        """
        found: Any = self.values
        for name in path.split("."):
            is_plain = isinstance(found, Mapping)
            found = cast("Mapping[str, Any]", found).get(name, _NOTHING) if is_plain else getattr(found, name, _NOTHING)
            if found is _NOTHING:
                break
        if found is not _NOTHING:
            return found
        if default is _NOTHING:
            raise CheckpointError(
                f'{self.source} does not say "{path}" in its config.json, which this layout needs: put the config.json '
                f"of the release beside the tensors"
            )
        return default


def _with_infinities(value: Any) -> Any:  # noqa: ANN401
    """Read numbers that JSON does not have, which transformers writes as {"__float__": "Infinity"}."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value)
        if set(items) == {"__float__"}:
            return float(items["__float__"])
        return {name: _with_infinities(one) for name, one in items.items()}
    if isinstance(value, list):
        return [_with_infinities(one) for one in cast("list[Any]", value)]
    return value
