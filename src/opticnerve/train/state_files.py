"""The trained weights and the optimizer's state as files: one of each, or shares of all processes under FSDP2."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load  # pyright: ignore[reportUnknownVariableType]
from torch.distributed.checkpoint.state_dict_saver import save  # pyright: ignore[reportUnknownVariableType]

from opticnerve.train.errors import TrainingError

WEIGHTS = "trained.safetensors"
"""Trained parameters and all running averages; what is frozen comes from where the stage started."""
OPTIMIZER = "optimizer.pt"
SHARDS = "shards"
"""Folder of torch.distributed.checkpoint, in place of both."""


def changing(task: nn.Module) -> dict[str, Tensor]:
    """Give the tensors that a stage may change: open parameters, each once, and saved buffers.

    Args:
        task: what is trained.
    """
    parameters = dict(task.named_parameters())
    saved = task.state_dict()
    shared = dict(task.named_parameters(remove_duplicate=False))
    buffers = {name: tensor for name, tensor in saved.items() if name not in shared}
    return {**{name: p for name, p in parameters.items() if p.requires_grad}, **buffers}


def save_whole(task: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Write weights and optimizer; the first process does it for all.

    Args:
        task: what is trained.
        optimizer: its optimizer.
        folder: where to.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in changing(task).items()}
    save_file(tensors, folder / WEIGHTS)
    torch.save(optimizer.state_dict(), folder / OPTIMIZER)


def load_whole_weights(task: nn.Module, folder: Path) -> None:
    """Read the weights into a task of the same make.

    Args:
        task: what is trained.
        folder: a checkpoint.

    Raises:
        TrainingError: it holds other weights than those that this stage trains.
    """
    copy_into(changing(task), load_file(folder / WEIGHTS), source=folder / WEIGHTS)


def copy_into(targets: Mapping[str, Tensor], stored: Mapping[str, Tensor], *, source: Path) -> None:
    """Copy tensors by name, all of them.

    Args:
        targets: what is written to.
        stored: what is read.
        source: where it comes from, for the message.

    Raises:
        TrainingError: names or shapes differ.
    """
    odd = sorted(set(targets) ^ set(stored))
    odd += sorted(name for name in set(targets) & set(stored) if targets[name].shape != stored[name].shape)
    if odd:
        raise TrainingError(
            f"{source} does not hold what this stage trains: {', '.join(odd[:5])}{' ...' if odd[5:] else ''} differ."
            " It belongs to another recipe: choose another output folder."
        )
    with torch.no_grad():
        for name, tensor in targets.items():
            tensor.copy_(stored[name])


def load_whole_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Read the optimizer's state.

    Args:
        optimizer: of the same parameters.
        folder: a checkpoint.
    """
    optimizer.load_state_dict(torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True))


def save_shards(task: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Write the shares of all processes; every process calls it.

    Args:
        task: what is trained, sharded.
        optimizer: its optimizer.
        folder: where to.
    """
    save(_sharded_state(task, optimizer), checkpoint_id=folder / SHARDS)


def load_shards(task: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Read the shares of all processes; every process calls it.

    Args:
        task: what is trained, sharded.
        optimizer: its optimizer.
        folder: a checkpoint.
    """
    state = _sharded_state(task, optimizer)
    load(state, checkpoint_id=folder / SHARDS)
    options = StateDictOptions(ignore_frozen_params=True)
    set_optimizer_state_dict(task, optimizer, state["optimizer"], options=options)


def _sharded_state(task: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Give the tensors themselves, so that reading writes into them."""
    options = StateDictOptions(ignore_frozen_params=True)
    weights = {name: tensor.detach() for name, tensor in changing(task).items()}
    return {"weights": weights, "optimizer": get_optimizer_state_dict(task, optimizer, options=options)}
