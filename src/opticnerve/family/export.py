"""Make a member of the family out of a trained model."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from opticnerve.encoders import load_encoder
from opticnerve.errors import CheckpointError
from opticnerve.family.members import CARD, ENCODER, MODELS, WEIGHTS

_ALONGSIDE = (".json", ".jinja", ".txt")
"""Endings of the files beside the weights: config, tokenizer, processor."""
_NOT_ALONGSIDE = (".index.json", "manifest.json")
"""Endings of those that speak of the weights as they were."""


def export(model_dir: str | Path, name: str, *, card: Mapping[str, Any], folder: Path = MODELS) -> Path:
    """Write a member's folder from a saved model: its weights in half precision, without the bundled encoder's.

    Args:
        model_dir: what `save_pretrained` of the model and the processor wrote.
        name: of the member.
        card: how it was trained and how well it answers; plain data.
        folder: holds one folder for each member.

    Returns:
        The member's folder.

    Raises:
        CheckpointError: the model's encoder is not the bundled one, or has been trained further, or a weight does not
            fit half precision.
    """
    from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

    from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor

    source = Path(model_dir)
    model = OpticNerveForConditionalGeneration.from_pretrained(str(source))
    processor = OpticNerveProcessor.from_pretrained(str(source))
    _check_encoder(model.config.encoder or {}, model.parts["encoder"].state_dict(), name=str(source))
    halves = {key: _half(key, value) for key, value in _weights(source).items() if not key.startswith(ENCODER)}
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.suffix in _ALONGSIDE and not path.name.endswith(_NOT_ALONGSIDE):
            shutil.copyfile(path, home / path.name)
    save_file(halves, home / WEIGHTS, metadata={"format": "pt"})
    native = model.config.sight.info.native_px
    data = {
        "method": model.config.spec.name,
        "num_tokens": processor.num_image_tokens(*native),
        "num_params": sum(parameter.numel() for parameter in model.parameters()),
        "card": dict(card),
    }
    (home / CARD).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return home


def _weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    weights: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= load_file(path)
    return weights


def _check_encoder(description: Mapping[str, Any], weights: Mapping[str, Tensor], *, name: str) -> None:
    if description.get("kind") != "bundled":
        raise CheckpointError(f'"{name}" has an encoder of its own: members of the family share the bundled one')
    bundled = load_encoder("bundled", layers=tuple(description["levels"]) or "last").state_dict()
    changed = [key for key, value in bundled.items() if not torch.equal(value, weights[key].float())]
    if changed:
        raise CheckpointError(
            f'"{name}" has trained its encoder further ("{changed[0]}" differs): members of the family share the '
            f"bundled one, so leave it frozen"
        )


def _half(key: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value.contiguous()
    half = value.to(torch.float16).contiguous()
    if not bool(half.isfinite().all()):
        raise CheckpointError(f'weight "{key}" has values that half precision cannot hold (above 65504, or no numbers)')
    return half
