"""Low-rank adapters for the language model, by peft; at the end of a stage they become plain weights."""

from typing import Any, cast

from peft import LoraConfig, LoraModel
from torch import nn

from opticnerve.errors import first_line
from opticnerve.train.errors import TrainingError
from opticnerve.train.recipe import Lora

MARK = "lora_"
"""What the names of an adapter's parameters hold."""


def add_adapters(llm: nn.Module, lora: Lora) -> LoraModel:
    """Put adapters into a language model, in place.

    Args:
        llm: the language model.
        lora: rank, scale and places. Random weights come from the global generator.

    Returns:
        The handle that `merge_adapters` takes.

    Raises:
        TrainingError: there is no layer of such a name.
    """
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank, lora_alpha=cast(int, lora.alpha), lora_dropout=lora.dropout, target_modules=targets
    )
    try:
        return LoraModel(llm, config, "default")
    except ValueError as error:
        raise TrainingError(f"the adapters cannot be placed: {first_line(error)}") from error


def merge_adapters(handle: LoraModel) -> None:
    """Add the adapters to the weights that they sit on, and remove them, in place.

    Args:
        handle: what `add_adapters` returned.
    """
    cast(Any, handle).merge_and_unload()
