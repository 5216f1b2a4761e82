"""What a stage can minimise; a registry from the recipe's `kind` to a builder."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from opticnerve.train.objectives.alignment import AlignmentLoss
from opticnerve.train.objectives.answers import AnswerLoss
from opticnerve.train.objectives.base import LossSum, Objective, model_inputs, token_loss
from opticnerve.train.objectives.symbols import SymbolLoss
from opticnerve.train.recipe import Symbols

Builder = Callable[[Any, Any, Any], Objective]
"""From the recipe's settings, the model and its processor, an objective. Random weights come from the global
generator, which the engine has seeded and puts back."""


def _symbols(settings: Symbols, model: Any, processor: Any) -> Objective:  # noqa: ANN401
    dim = model.get_input_embeddings().embedding_dim
    return SymbolLoss(processor.tokenizer, dim=dim, grids=settings.grids, image_token=processor.image_token)


def _alignment(settings: object, model: Any, processor: Any) -> Objective:  # noqa: ANN401
    del settings
    return AlignmentLoss(processor.tokenizer, dim=model.get_input_embeddings().embedding_dim)


def _answers(settings: object, model: object, processor: object) -> Objective:
    del settings, model, processor
    return AnswerLoss()


OBJECTIVES: Mapping[str, Builder] = MappingProxyType(
    {"answers": _answers, "symbols": _symbols, "alignment": _alignment}
)
"""The builder of each `kind`."""

__all__ = [
    "OBJECTIVES",
    "AlignmentLoss",
    "AnswerLoss",
    "Builder",
    "LossSum",
    "Objective",
    "SymbolLoss",
    "model_inputs",
    "token_loss",
]
