"""Vision towers on the meta device, from the settings of a catalogue row: what closed forms are held against."""

from collections.abc import Mapping
from typing import Any

import transformers as hf
from transformers.models.idefics2.modeling_idefics2 import Idefics2VisionConfig, Idefics2VisionTransformer
from transformers.models.idefics3.modeling_idefics3 import Idefics3VisionConfig, Idefics3VisionTransformer
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel
from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionConfig, SmolVLMVisionTransformer

from opticnerve.encoders import EncoderInfo, Layers
from opticnerve.encoders.levels import resolve_levels
from opticnerve.encoders.normalisation import FAMILIES
from opticnerve.encoders.towers import TowerPlan
from opticnerve.encoders.trim import trim
from opticnerve.encoders.vision_tower import VisionTower, probe

CLASSES: dict[str, tuple[Any, Any]] = {
    "clip_vision_model": (hf.CLIPVisionConfig, hf.CLIPVisionModel),
    "siglip_vision_model": (hf.SiglipVisionConfig, hf.SiglipVisionModel),
    "siglip2_vision_model": (hf.Siglip2VisionConfig, hf.Siglip2VisionModel),
    "dinov2": (hf.Dinov2Config, hf.Dinov2Model),
    "dinov2_with_registers": (hf.Dinov2WithRegistersConfig, hf.Dinov2WithRegistersModel),
    "dinov3_vit": (hf.DINOv3ViTConfig, hf.DINOv3ViTModel),
    "blip_2_vision_model": (hf.Blip2VisionConfig, hf.Blip2VisionModel),
    "instructblip_vision_model": (hf.InstructBlipVisionConfig, hf.InstructBlipVisionModel),
    "vit": (hf.ViTConfig, hf.ViTModel),
    "intern_vit_6b": (hf.InternVLVisionConfig, hf.InternVLVisionModel),
    "internvl_vision": (hf.InternVLVisionConfig, hf.InternVLVisionModel),
    "aimv2_vision_model": (hf.Aimv2VisionConfig, hf.Aimv2VisionModel),
    "idefics2_vision": (Idefics2VisionConfig, Idefics2VisionTransformer),
    "idefics3_vision": (Idefics3VisionConfig, Idefics3VisionTransformer),
    "smolvlm_vision": (SmolVLMVisionConfig, SmolVLMVisionTransformer),
    "qwen2_vl_vision": (Qwen2VLVisionConfig, Qwen2VisionTransformerPretrainedModel),
    "qwen2_5_vl_vision": (Qwen2_5_VLVisionConfig, Qwen2_5_VisionTransformerPretrainedModel),
    "qwen3_vl_vision": (Qwen3VLVisionConfig, Qwen3VLVisionModel),
}
"""Model type -> transformers' classes of config and model. Pixtral takes no batches, and is tried by itself."""
INTERN_NAMES = {"qkv_bias": "attention_bias", "qk_normalization": "use_qk_norm"}
"""What the first InternViT calls its settings -> what transformers does."""


def plan(settings: Mapping[str, Any]) -> TowerPlan:
    """Return the tower of some settings, before it is built."""
    kind = settings["model_type"]
    config_class, cls = CLASSES[kind]
    values = {key: value for key, value in settings.items() if key not in ("model_type", "published_params")}
    if kind == "intern_vit_6b":
        values = {INTERN_NAMES.get(key, key): value for key, value in values.items()}
    return TowerPlan(config=config_class(**values), cls=cls, path="")


def sketch(settings: Mapping[str, Any], *, name: str, layers: Layers = "last") -> VisionTower:
    """Build a tower on the meta device, as `sketch_encoder` does for a folder."""
    tower = plan(settings)
    levels = resolve_levels(layers, num_layers=tower.num_layers, name=name)
    shapes = probe(tower, name=name)
    model = tower.skeleton(num_layers=tower.num_layers)
    trim(model, tower, levels=levels)
    info = EncoderInfo(
        name=name,
        dim=shapes.dim * max(len(levels), 1),
        patch_px=tower.patch_px,
        native_px=(tower.native_px, tower.native_px),
        step_px=tower.step_px,
        is_any_size=shapes.is_any_size,
        num_prefix=0,
        normalisation=FAMILIES[tower.config.model_type],
    )
    return VisionTower(info, plan=tower, model=model, levels=levels, num_prefix=shapes.num_prefix)


def num_params(tower: VisionTower) -> int:
    """Count the numbers of a tower."""
    return sum(parameter.numel() for parameter in tower.model.parameters())


def native_size(info: EncoderInfo) -> tuple[int, int]:
    """Return the largest size that fits within the native one: 378 for patches of 14 pixels in 384."""
    height, width = (side // info.step_px * info.step_px for side in info.native_px)
    return height, width
