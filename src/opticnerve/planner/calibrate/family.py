"""The bundled models: how long each stage should take, and how long it takes."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch

from opticnerve.family import members, open_model
from opticnerve.planner.calibrate.clock import Spread
from opticnerve.planner.calibrate.machine import TORCH_DTYPES, Machine
from opticnerve.planner.calibrate.networks import prefill
from opticnerve.planner.calibrate.trials import Trial, predict
from opticnerve.planner.device import Device
from opticnerve.planner.encoder import BuiltEncoder, module_depth
from opticnerve.planner.llm_config import read_llm
from opticnerve.planner.model import VisionLanguageModel

if TYPE_CHECKING:
    from opticnerve.vlm.model import OpticNerveModel

_SIZE = (768, 1024)
"""Of the image: height and width."""
_TEXT_TOKENS = 32


def family_trials(device: Device, machine: Machine, *, seconds: float) -> Iterator[Trial]:
    """Run the bundled models on one image each, three trials for each of them.

    Args:
        device: what predictions are made from.
        machine: where they run.
        seconds: for each stage of each.
    """
    for name in members():
        model = cast("Any", open_model(name)[0]).model.to(machine.kind, TORCH_DTYPES[machine.dtypes[0]])
        expected = predict(_costs(name, model), device, size=_SIZE, text_tokens=_TEXT_TOKENS, dtype=machine.dtypes[0])
        measured = _measure(model, machine, seconds)
        for stage, spread in measured.items():
            yield Trial(model=name, stage=stage, predicted=expected[stage], measured=spread)


def num_trials() -> int:
    """Count what `family_trials` yields."""
    return 3 * len(members())


def _costs(name: str, model: "OpticNerveModel") -> VisionLanguageModel:
    config = model.config
    return VisionLanguageModel(
        name=name,
        encoder=BuiltEncoder(encoder=model.vision_tower, depth=module_depth(model.vision_tower)),
        sight=model.sight,
        spec=config.spec,
        llm=read_llm(cast("Any", config.text_config).to_dict(), name=name),
    )


@torch.inference_mode()
def _measure(model: "OpticNerveModel", machine: Machine, seconds: float) -> Mapping[str, Spread]:
    clock = machine.clock
    image = torch.full((3, *_SIZE), 127, dtype=torch.uint8)
    sizes = torch.tensor([_SIZE])
    views = [tiles.to(machine.kind) for tiles in model.sight.views(image)]
    features = model.image_features(views, sizes)
    tokens = model.visual_tokens(features, sizes)[0]
    prompt = torch.cat([tokens.new_zeros(_TEXT_TOKENS, tokens.shape[1]), tokens])[None]
    return {
        "encode": clock.ms(lambda: model.image_features(views, sizes), seconds=seconds),
        "connect": clock.ms(lambda: model.visual_tokens(features, sizes), seconds=seconds),
        "prefill": clock.ms(lambda: prefill(model.llm, prompt), seconds=seconds),
    }
