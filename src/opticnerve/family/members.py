"""The bundled models: what there is, and how one is put together.

A member's folder holds its connector and its LLM in half precision, its config and its tokenizer. The encoder's weights
are those of the bundled encoder, which are stored once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from opticnerve.errors import UnknownNameError

if TYPE_CHECKING:
    from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor

MODELS = Path(__file__).parent / "models"
"""Holds one folder for each member."""
CARD = "member.json"
"""In each of them: what can be known without loading it."""
WEIGHTS = "model.safetensors"
ENCODER = "model.vision_tower."
"""Keys that begin so belong to the encoder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One bundled model."""

    name: str
    """By which it is loaded."""
    method: str
    """Of its connector."""
    num_tokens: int
    """Visual tokens of an image of the encoder's own size."""
    num_params: int
    """Learned numbers, encoder included."""
    card: Mapping[str, Any]
    """How it was trained, and how well it answers."""
    folder: Path
    """Where it lies."""


def members(folder: Path = MODELS) -> Mapping[str, Member]:
    """List the bundled models by name, from the most visual tokens to the fewest; nothing is loaded.

    Args:
        folder: holds one folder for each.
    """
    found = [_read(card) for card in folder.glob(f"*/{CARD}")]
    found.sort(key=lambda member: (-member.num_tokens, member.name))
    return MappingProxyType({member.name: member for member in found})


def load(name: str, folder: Path = MODELS) -> "tuple[OpticNerveForConditionalGeneration, OpticNerveProcessor]":
    """Load a bundled model in single precision and evaluation mode, on the CPU.

    Args:
        name: one of `members()`.
        folder: holds one folder for each.

    Raises:
        UnknownNameError: there is no such member.
    """
    known = members(folder)
    if name not in known:
        raise UnknownNameError("bundled model", name, known)
    import torch

    with torch.random.fork_rng(devices=[]):  # modules are born random
        return _join(str(known[name].folder))


def _join(home: str) -> "tuple[OpticNerveForConditionalGeneration, OpticNerveProcessor]":
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    from opticnerve.encoders import load_encoder
    from opticnerve.vlm import OpticNerveConfig, OpticNerveForConditionalGeneration, OpticNerveProcessor

    config = OpticNerveConfig.from_pretrained(home)
    levels = tuple((config.encoder or {})["levels"])
    encoder = load_encoder("bundled", layers=levels or "last")
    weights = {f"{ENCODER}{key}": value for key, value in encoder.state_dict().items()}
    weights |= {key: value.float() for key, value in load_file(f"{home}/{WEIGHTS}").items()}
    model = OpticNerveForConditionalGeneration.from_pretrained(None, config=config, state_dict=weights)
    return model.eval(), OpticNerveProcessor.from_pretrained(home)


def _read(card: Path) -> Member:
    data = json.loads(card.read_text(encoding="utf-8"))
    return Member(name=card.parent.name, folder=card.parent, **data)
