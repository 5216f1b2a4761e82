"""The settings of a model without its tensors: config.json from a folder or the hub, defaults filled in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.hub import read_hub_config
from opticnerve.errors import CheckpointError


def read_settings(source: str | Path, *, revision: str | None = None) -> Mapping[str, Any]:
    """Read a model's config.json, with transformers' defaults where transformers knows the model type.

    Args:
        source: a folder with a config.json, the file itself, or a name on the Hugging Face hub.
        revision: branch, tag or commit on the hub.

    Returns:
        The settings as plain values.

    Raises:
        CheckpointError: there is no config.json, or it cannot be read.
    """
    path = Path(source).expanduser()
    name = str(source)
    if path.is_dir() or path.is_file():
        file = path / "config.json" if path.is_dir() else path
        if not file.is_file():
            raise CheckpointError(f"{path} has no config.json: pass the folder of a model, or a name on the hub")
        config = Config.read(file, source=name)
    elif path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise CheckpointError(
            f'there is no folder "{name}": pass a folder with a config.json, or a name on the Hugging Face hub '
            f'("owner/model")'
        )
    else:
        config = read_hub_config(name, revision=revision)
        if not config.is_known:
            raise CheckpointError(f'"{name}" has no config.json on the Hugging Face hub: pass a transformers model')
    found = config.values
    values: Any = found.to_dict() if hasattr(found, "to_dict") else found
    return cast("Mapping[str, Any]", values)
