"""Connectors of published checkpoints as modules, and modules as files: ours, and under published names."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

from opticnerve.checkpoints.entries import from_published, to_published
from opticnerve.checkpoints.find import find
from opticnerve.checkpoints.layouts import LAYOUTS
from opticnerve.checkpoints.layouts.own import CONNECTOR_MODEL_TYPE
from opticnerve.checkpoints.opening import open_checkpoint
from opticnerve.connectors import Connector
from opticnerve.errors import CheckpointError, UnknownNameError


def load_connector(
    source: str | Path,
    *,
    layout: str | None = None,
    prefix: str | None = None,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> Connector:
    """Make a connector with the weights of a checkpoint; nothing else of it is read.

    Args:
        source: folder, safetensors file, index of shards, or name on the Hugging Face hub: of a published model, of its
            connector alone, of a model of this library, or what `save_connector` wrote.
        layout: a key of `LAYOUTS`, where several fit.
        prefix: what stands before the layout's names, where several fit.
        dtype: of the weights; None keeps the types in which they are stored.
        revision: branch, tag or commit on the hub.

    Returns:
        The connector in evaluation mode.

    Raises:
        UnknownNameError: no such layout.
        CheckpointError: nothing can be read there, no connector is known to fit, or its tensors do not.
    """
    checkpoint = open_checkpoint(source, revision=revision)
    match = find(checkpoint, layout=layout, prefix=prefix)
    cut = len(match.prefix)
    tensors = {name[cut:]: tensor for name, tensor in checkpoint.load(match.names).items()}
    odd = [name for name, tensor in tensors.items() if not tensor.is_floating_point()]
    if odd:
        raise CheckpointError(
            f"{checkpoint.source} stores {match.prefix}{odd[0]} as {tensors[odd[0]].dtype}: a connector needs floating-"
            f"point tensors, so take a checkpoint that is not quantised"
        )
    connector = match.spec.build(vision_dim=match.reading.vision_dim, llm_dim=match.reading.llm_dim)
    state = from_published(match.entries, tensors, connector.state_dict())
    connector.load_state_dict(state, assign=True)
    return connector.to(dtype).eval()


def save_connector(
    connector: Connector, folder: str | Path, *, card: Mapping[str, object] = MappingProxyType({})
) -> Path:
    """Write a connector as a folder that `load_connector` reads: what it is made of, and its weights.

    Args:
        connector: the connector.
        folder: must not be there yet. It appears when all is written.
        card: how it was trained and how well it answers; plain data, kept in connector.json.

    Returns:
        The folder.

    Raises:
        CheckpointError: something is there already, or it cannot be written.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise CheckpointError(f"{folder} is there already: name another folder, or remove it")
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    facts = {
        "model_type": CONNECTOR_MODEL_TYPE,
        "connector": connector.spec.to_dict(),
        "vision_dim": connector.vision_dim,
        "llm_dim": connector.llm_dim,
        **({"card": dict(card)} if card else {}),
    }
    try:
        unfinished.mkdir(parents=True)
        (unfinished / "connector.json").write_text(json.dumps(facts, indent=2) + "\n")
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in connector.state_dict().items()}
        save_file(weights, unfinished / "model.safetensors", metadata={"format": "pt"})
        unfinished.rename(folder)
    except OSError as error:
        raise CheckpointError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def export_connector(connector: Connector, path: str | Path, *, layout: str, prefix: str | None = None) -> Path:
    """Write a connector's tensors under their published names, as one safetensors file: bit for bit what was loaded.

    Tensors that a release stores and that do nothing are not written.

    Args:
        connector: the connector.
        path: the file. It appears, or is replaced, when all is written.
        layout: a key of `LAYOUTS`.
        prefix: what stands before the layout's names; None is where the release of that layout has them.

    Returns:
        The file.

    Raises:
        UnknownNameError: no such layout.
        CheckpointError: the layout is not that of a connector of these blocks, or the file cannot be written.
    """
    if layout not in LAYOUTS:
        raise UnknownNameError("layout", layout, LAYOUTS)
    path = Path(path).expanduser()
    spec = connector.spec.resolve(vision_dim=connector.vision_dim, llm_dim=connector.llm_dim)
    start = LAYOUTS[layout].prefix if prefix is None else prefix
    state = {name: tensor.detach().cpu() for name, tensor in connector.state_dict().items()}
    published = to_published(LAYOUTS[layout].list_entries(spec, state), state)
    tensors = {start + name: tensor.clone() for name, tensor in published.items()}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, unfinished, metadata={"format": "pt"})
        unfinished.replace(path)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return path
