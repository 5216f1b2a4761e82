"""From a folder, a file, an index of shards or a name on the hub to a checkpoint. Headers only, safetensors only."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from typing_extensions import override

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.files import PROCESSORS, PROJECTOR, Checkpoint, StoredTensor, opened_file
from opticnerve.checkpoints.hub import open_hub
from opticnerve.checkpoints.pickles import SUFFIXES, refuse_pickle
from opticnerve.errors import CheckpointError

INDEX = "model.safetensors.index.json"
CONFIGS = ("config.json", "connector.json")


class LocalCheckpoint(Checkpoint):
    """A checkpoint on disk."""

    def __init__(self, folder: Path, **facts: Any) -> None:  # noqa: ANN401
        super().__init__(**facts)
        self.folder = folder

    @override
    def path(self, file: str) -> Path:
        """Return where a file of the checkpoint lies."""
        return self.folder / file


def open_checkpoint(source: str | Path, *, revision: str | None = None) -> Checkpoint:
    """Find the tensors of a checkpoint, reading headers only.

    Args:
        source: a folder with safetensors files (sharded or not) and a config.json, one safetensors file, an index of
            shards, or a name on the Hugging Face hub.
        revision: branch, tag or commit on the hub.

    Raises:
        CheckpointError: there is nothing there that can be read safely.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _file(path)
    name = str(source)
    if path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise CheckpointError(
            f'there is no file or folder "{name}": pass a folder with safetensors files, one safetensors file, an '
            f'index of shards, or a name on the Hugging Face hub ("owner/model")'
        )
    return open_hub(name, revision=revision)


def _folder(folder: Path) -> Checkpoint:
    index = folder / INDEX
    if index.is_file():
        return _sharded(index)
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    if "model.safetensors" in files:  # others beside it are adapters, or parts of something else
        files = ["model.safetensors"]
    if not files:
        files = sorted(f"{PROJECTOR}/{path.name}" for path in (folder / PROJECTOR).glob("*.safetensors"))
    if not files:
        raise _nothing_in(folder)
    return _local(folder, str(folder), files)


def _file(path: Path) -> Checkpoint:
    if path.suffix in SUFFIXES:
        raise refuse_pickle(path.name)
    if path.name.endswith(".index.json"):
        return _sharded(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} is no checkpoint: pass a .safetensors file, an index of shards, or their folder")
    return _local(path.parent, str(path), [path.name])


def _sharded(index: Path) -> Checkpoint:
    try:
        weight_map: dict[str, str] = json.loads(index.read_text())["weight_map"]
        named = sorted({str(file) for file in weight_map.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of shards: {error}") from error
    folder = index.parent
    there = [file for file in named if (folder / file).is_file()]
    if not there:
        raise CheckpointError(f"none of the {len(named)} shards that {index} names is there, first {named[0]}")
    missing = tuple(file for file in named if file not in there)
    return _local(folder, str(folder), there, missing_files=missing)


def _local(folder: Path, source: str, files: list[str], *, missing_files: tuple[str, ...] = ()) -> Checkpoint:
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        with opened_file(folder / file) as opened:
            for name in opened.keys():  # noqa: SIM118
                part = opened.get_slice(name)
                shape = tuple(int(side) for side in part.get_shape())
                tensors[name] = StoredTensor(name=name, shape=shape, dtype=part.get_dtype(), file=file)
    return LocalCheckpoint(
        folder,
        source=source,
        config=_settings(folder, CONFIGS, source=source),
        processor=_settings(folder, PROCESSORS, source=source),
        tensors=tensors,
        missing_files=missing_files,
    )


def _settings(folder: Path, names: Iterable[str], *, source: str) -> Config:
    """Read the first of some files that is there."""
    for name in names:
        if (folder / name).is_file():
            return Config.read(folder / name, source=source)
    return Config(source=source)


def _nothing_in(folder: Path) -> CheckpointError:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES)
    if pickles:
        return refuse_pickle(pickles[0])
    return CheckpointError(f"{folder} holds no safetensors files: pass the folder of a checkpoint, or of a connector")
