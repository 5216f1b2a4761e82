"""What a stage minimises."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MODEL_INPUTS = (
    "input_ids",
    "attention_mask",
    "position_ids",
    "pixel_values",
    "image_sizes",
    "image_features",
    "mm_encoder_outputs",
)
"""Keys of a batch that the model takes."""


@dataclass(frozen=True, slots=True)
class LossSum:
    """A loss that is summed, not averaged, so that micro-batches and processes add up to the same number."""

    total: Tensor
    """Sum over all items of the micro-batch; float32, one number, with its graph."""
    count: Tensor
    """Number of items that were summed; one number, without a graph."""
    logs: dict[str, float]
    """Further sums over the same items, such as right answers; they are shown divided by `count`."""


class Objective(nn.Module):
    """A loss over a batch; it may have parameters of its own, which train as the part "objective"."""

    def forward(self, model: nn.Module, batch: Mapping[str, object]) -> LossSum:
        """Compute the loss of a micro-batch.

        Args:
            model: the vision-language model.
            batch: what the collator has made, on the model's device.

        Returns:
            The sum over the items that count, and their number. The engine divides by the number of all processes'
            and accumulated micro-batches' items.
        """
        raise NotImplementedError


def model_inputs(batch: Mapping[str, object]) -> dict[str, object]:
    """Keep what the model takes.

    Args:
        batch: what the collator has made.
    """
    return {key: batch[key] for key in MODEL_INPUTS if batch.get(key) is not None}


def token_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the next-token loss over the positions that have a label.

    Args:
        logits: (rows, positions, vocabulary).
        labels: (rows, positions); -100 where nothing is to be said.

    Returns:
        The sum in float32, and the number of tokens.
    """
    targets = labels[:, 1:]
    wanted = targets != -100
    # Only the wanted positions are widened to float32: a prompt is mostly image and question.
    chosen = logits[:, :-1][wanted].float()
    total = torch.nn.functional.cross_entropy(chosen, targets[wanted], reduction="sum")
    return total, wanted.sum()
