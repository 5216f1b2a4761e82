"""What is trained: a model and what it minimises, as one module, so that DDP and FSDP2 wrap both."""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from typing_extensions import override

from opticnerve.train.elastic import Budgets
from opticnerve.train.objectives.base import LossSum, Objective
from opticnerve.train.parts import Selection
from opticnerve.train.turns import TURN


class Task(nn.Module):
    """A model with its objective.

    Args:
        model: a vision-language model with `parts`.
        objective: what it minimises.
        selection: what of both is open. A frozen module stays in evaluation mode: without dropout, and without
            moving a running average.
        budgets: that the connector takes turns with; None for one alone.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, *, selection: Selection, budgets: Budgets | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.selection = selection
        self.budgets = budgets
        self.is_sharded = False
        """FSDP2 has shared it out."""

    @override
    def forward(self, batch: Mapping[str, object]) -> dict[str, object]:
        """Compute the loss of a micro-batch.

        Args:
            batch: what the collator has made, on the model's device.

        Returns:
            The fields of a `LossSum`: in a dict, where DDP and FSDP2 find its tensors.
        """
        if self.budgets is not None:
            self.budgets.take(cast("int", batch[TURN]))
        loss = cast(LossSum, self.objective(self.model, batch))
        return {"total": loss.total + self._nothing(), "count": loss.count, "logs": loss.logs}

    def _nothing(self) -> Tensor:
        """Give 0, made of all open parameters that a batch without images leaves out.

        DDP and FSDP2 need a gradient for each of them from every process, and autograd at least one.
        """
        named = (p for part in ("encoder", "connector", "objective") for _, p in self._open(part))
        return sum((0 * parameter.flatten()[:1].sum() for parameter in named), torch.zeros(()))

    def _open(self, part: str) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self.selection.parts[part].named_parameters() if p.requires_grad)

    @override
    def train(self, mode: bool = True) -> "Task":
        super().train(mode)
        for module, is_open in self.selection.modes:
            module.train(mode and is_open)
        for module in self.modules():
            # A frozen layer below an open one still has activations to save, and checkpoints only in training mode.
            if isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing:
                module.training = mode
        return self
