"""Tiny vision towers with random weights, as checkpoints in a folder; nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
PICTURE = {"image_size": 28, "patch_size": 7}
DINO = {key: value for key, value in (SIZES | PICTURE).items() if key != "intermediate_size"}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}
PLAIN_TEXT = {key: value for key, value in TEXT.items() if key != "num_key_value_heads"}

IDS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
QWEN_TEXT = TEXT | IDS | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
QWEN_IDS = {"image_token_id": 3, "video_token_id": 4, "vision_start_token_id": 5, "vision_end_token_id": 6}
QWEN = {"depth": 3, "num_heads": 2, "patch_size": 7, "spatial_merge_size": 2, "temporal_patch_size": 2}

TOWERS: dict[str, Callable[[], Any]] = {
    "clip": lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**SIZES, **PICTURE)),
    "siglip": lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**SIZES, **PICTURE)),
    "dinov2": lambda: hf.Dinov2Model(hf.Dinov2Config(**DINO)),
    "dinov2_with_registers": lambda: hf.Dinov2WithRegistersModel(
        hf.Dinov2WithRegistersConfig(num_register_tokens=4, **DINO)
    ),
    "dinov3": lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(num_register_tokens=4, **SIZES, **PICTURE)),
    "internvl": lambda: hf.InternVLVisionModel(
        hf.InternVLVisionConfig(image_size=[28, 28], patch_size=[7, 7], **SIZES)
    ),
    "vit": lambda: hf.ViTModel(hf.ViTConfig(**SIZES, **PICTURE)),
}
"""Towers that take whole images."""

PREFIX = {"clip": 1, "siglip": 0, "dinov2": 1, "dinov2_with_registers": 5, "dinov3": 5, "internvl": 1, "vit": 1}


def naflex() -> Any:
    return hf.Siglip2VisionModel(hf.Siglip2VisionConfig(num_patches=16, patch_size=7, **SIZES))


def qwen2() -> Any:
    vision = {**QWEN, "embed_dim": 16, "hidden_size": 16, "mlp_ratio": 2}
    return hf.Qwen2VLForConditionalGeneration(hf.Qwen2VLConfig(vision_config=vision, text_config=QWEN_TEXT, **QWEN_IDS))


def qwen2_5() -> Any:
    vision = {**QWEN, "hidden_size": 16, "intermediate_size": 32, "window_size": 28, "fullatt_block_indexes": [1]}
    return hf.Qwen2_5_VLForConditionalGeneration(
        hf.Qwen2_5_VLConfig(vision_config={**vision, "out_hidden_size": 16}, text_config=QWEN_TEXT, **QWEN_IDS)
    )


def qwen3() -> Any:
    vision = {**QWEN, "hidden_size": 16, "intermediate_size": 32, "out_hidden_size": 16}
    return hf.Qwen3VLForConditionalGeneration(
        hf.Qwen3VLConfig(
            vision_config={**vision, "num_position_embeddings": 16, "deepstack_visual_indexes": [1]},
            text_config=QWEN_TEXT | {"head_dim": 8},
            **QWEN_IDS,
        )
    )


QWENS: dict[str, Callable[[], Any]] = {"qwen2_vl": qwen2, "qwen2_5_vl": qwen2_5, "qwen3_vl": qwen3}


def llava() -> Any:
    vision = hf.CLIPVisionConfig(**SIZES, **PICTURE)
    return hf.LlavaForConditionalGeneration(
        hf.LlavaConfig(vision_config=vision, text_config=hf.LlamaConfig(head_dim=8, **TEXT), image_token_index=3)
    )


def idefics3() -> Any:
    text = hf.LlamaConfig(head_dim=8, **IDS, **TEXT)
    return hf.Idefics3ForConditionalGeneration(
        hf.Idefics3Config(vision_config={**SIZES, **PICTURE}, text_config=text, image_token_id=3)
    )


COMPOSITES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "clip": (
        lambda: hf.CLIPModel(hf.CLIPConfig(vision_config={**SIZES, **PICTURE}, text_config={**PLAIN_TEXT, **IDS})),
        lambda model: model.vision_model,
    ),
    "siglip": (
        lambda: hf.SiglipModel(hf.SiglipConfig(vision_config={**SIZES, **PICTURE}, text_config={**PLAIN_TEXT, **IDS})),
        lambda model: model.vision_model,
    ),
    "clip_with_projection": (
        lambda: hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**SIZES, **PICTURE)),
        lambda model: model.vision_model,
    ),
    "vit_classifier": (lambda: hf.ViTForImageClassification(hf.ViTConfig(**SIZES, **PICTURE)), lambda model: model.vit),
    "llava": (llava, lambda model: model.model.vision_tower),
    "idefics3": (idefics3, lambda model: model.model.vision_model),
}
"""Whole model, and how to find its vision tower."""


def randomise(model: Any, *, seed: int = 0) -> Any:
    """Fill every weight with noise, so that zero-initialised tables and CLS tokens count too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def save(model: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    return folder


def pixels(height: int, width: int, *, batch: int = 2, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))
