"""The loss of every published stage: next token, on answers only."""

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn
from typing_extensions import override

from opticnerve.train.objectives.base import LossSum, Objective, model_inputs, token_loss


class AnswerLoss(Objective):
    """Cross-entropy of the tokens that the assistant says; an item is an answer token."""

    @override
    def forward(self, model: nn.Module, batch: Mapping[str, object]) -> LossSum:
        logits = cast(Any, model)(**model_inputs(batch), use_cache=False).logits
        total, count = token_loss(logits, cast(Tensor, batch["labels"]))
        return LossSum(total=total, count=count, logs={})
