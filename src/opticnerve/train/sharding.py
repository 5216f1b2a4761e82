"""FSDP2: weights, gradients and optimizer state are shared out among the processes.

Each layer of the language model is a group of its own. Everything else (encoder, connector, embeddings) forms one group
that is gathered once a micro-batch: how often the encoder runs depends on the images, and processes that gather a
different number of times would wait for each other for ever.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from opticnerve.train.parts import layers_of
from opticnerve.train.task import Task


def shard(task: Task, *, device: torch.device, num_processes: int) -> None:
    """Share a task out, in place; the optimizer is made afterwards.

    Args:
        task: what is trained; the same numbers in every process.
        device: this process's.
        num_processes: training processes.
    """
    task.to(device)
    mesh = init_device_mesh(device.type, (num_processes,))
    layers = layers_of(task.selection.parts["llm"])
    for layer in layers or ():
        fully_shard(layer, mesh=mesh)
    fully_shard(task, mesh=mesh)
    task.is_sharded = True
    # Trainer then leaves the model where it is, and does not wrap it in DDP.
    cast(Any, task).is_distributed_loading_by_transformers = True


def gathered(model: torch.nn.Module) -> dict[str, Tensor]:
    """Gather the whole weights of a sharded model on the first process's CPU; every process calls it.

    Args:
        model: the model inside of a task.

    Returns:
        All weights on the first process, nothing on the others.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return cast(dict[str, Tensor], get_model_state_dict(model, options=options))
