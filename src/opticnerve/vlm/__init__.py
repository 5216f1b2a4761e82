"""Vision-language models: encoder, tiling, connector and causal language model as one model of transformers.

model, processor = assemble(llm="HuggingFaceTB/SmolLM2-135M-Instruct", method="pixel_shuffle")
model.save_pretrained("my-model"), processor.save_pretrained("my-model")
"""

from opticnerve.vlm.assemble import Views, assemble
from opticnerve.vlm.base import OpticNervePreTrainedModel
from opticnerve.vlm.budget import set_budget
from opticnerve.vlm.causal import OpticNerveForConditionalGeneration
from opticnerve.vlm.config import OpticNerveConfig
from opticnerve.vlm.graft import graft
from opticnerve.vlm.image_processor import OpticNerveImageProcessor
from opticnerve.vlm.images import Images, Pixels
from opticnerve.vlm.model import OpticNerveModel
from opticnerve.vlm.placeholders import check_placeholders, splice
from opticnerve.vlm.processor import IMAGE_TOKEN, OpticNerveProcessor
from opticnerve.vlm.projector import Projector
from opticnerve.vlm.templates import TEMPLATES

__all__ = [
    "IMAGE_TOKEN",
    "TEMPLATES",
    "Images",
    "OpticNerveConfig",
    "OpticNerveForConditionalGeneration",
    "OpticNerveImageProcessor",
    "OpticNerveModel",
    "OpticNervePreTrainedModel",
    "OpticNerveProcessor",
    "Pixels",
    "Projector",
    "Views",
    "assemble",
    "check_placeholders",
    "graft",
    "set_budget",
    "splice",
]
