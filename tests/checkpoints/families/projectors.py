"""Families whose connector is an MLP like LLaVA's."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    DeepseekVLConfig,
    DeepseekVLForConditionalGeneration,
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PerceptionLMConfig,
    PerceptionLMForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
    VideoLlama3Config,
    VideoLlama3ForConditionalGeneration,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)

from checkpoints.families import linears
from checkpoints.families.harness import Family, Recorded, features, to_blocks
from opticnerve import Grid

PATCH = 14
SIZES: dict[str, int] = {"intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = CLIPVisionConfig(hidden_size=24, image_size=56, patch_size=PATCH, **{**SIZES, "num_hidden_layers": 2})
SIGLIP = SiglipVisionConfig(hidden_size=24, image_size=56, patch_size=PATCH, vision_use_head=False, **SIZES)
TEXT = LlamaConfig(hidden_size=40, num_key_value_heads=2, vocab_size=64, head_dim=20, **SIZES)
QWEN = Qwen2Config(hidden_size=40, num_key_value_heads=2, vocab_size=64, **SIZES)


def _llava() -> Any:
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=VISION, text_config=TEXT, image_token_index=63))


def _llava_of_two_layers() -> Any:
    config = LlavaConfig(
        vision_config=VISION,
        text_config=TEXT,
        image_token_index=63,
        vision_feature_layer=[-2, -1],
        multimodal_projector_bias=False,
        projector_hidden_act="gelu_pytorch_tanh",
    )
    return LlavaForConditionalGeneration(config)


def _llava_next() -> Any:
    config = LlavaNextConfig(vision_config=VISION, text_config=TEXT, image_token_index=63)
    return LlavaNextForConditionalGeneration(config)


def _llava_onevision() -> Any:
    config = LlavaOnevisionConfig(vision_config=SIGLIP, text_config=QWEN, image_token_index=62, video_token_index=63)
    return LlavaOnevisionForConditionalGeneration(config)


def _llava_next_video(mode: str) -> Callable[[], Any]:
    def build() -> Any:
        config = LlavaNextVideoConfig(
            vision_config=VISION,
            text_config=TEXT,
            image_token_index=62,
            video_token_index=63,
            spatial_pool_mode=mode,
        )
        return LlavaNextVideoForConditionalGeneration(config)

    return build


def _video_llava() -> Any:
    config = VideoLlavaConfig(vision_config=VISION, text_config=TEXT, image_token_index=62, video_token_index=63)
    return VideoLlavaForConditionalGeneration(config)


def _fast_vlm() -> Any:
    """Another encoder stands in for timm's: the projector only asks for its width."""
    return FastVlmForConditionalGeneration(FastVlmConfig(vision_config=VISION, text_config=QWEN, image_token_index=63))


def _vipllava() -> Any:
    config = VipLlavaConfig(
        vision_config=VISION,
        text_config=TEXT,
        image_token_index=63,
        vision_feature_layer=[-2, -1, 0],
        projector_layernorm_eps=2e-5,
    )
    return VipLlavaForConditionalGeneration(config)


def _perception_lm() -> Any:
    """Another encoder stands in for timm's: the projector only asks for its width."""
    vision = CLIPVisionConfig(**VISION.to_dict(), model_args={"embed_dim": 24})
    config = PerceptionLMConfig(vision_config=vision, text_config=TEXT, projector_pooling_ratio=2, image_token_id=63)
    return PerceptionLMForConditionalGeneration(config)


def _deepseek_vl() -> Any:
    return DeepseekVLForConditionalGeneration(
        DeepseekVLConfig(vision_config=SIGLIP, text_config=TEXT, image_token_id=63)
    )


def _video_llama_3() -> Any:
    config = VideoLlama3Config(
        vision_config={"hidden_size": 24, "patch_size": PATCH, **SIZES},
        text_config=QWEN,
        image_token_id=62,
        video_token_id=63,
    )
    return VideoLlama3ForConditionalGeneration(config)


def _through(module: str, dim: int = 24) -> Callable[[nn.Module], list[Recorded]]:
    """Record a module that takes features as they are, on any grid, with or without a CLS."""

    @torch.no_grad()
    def record(model: Any) -> list[Recorded]:
        found: list[Recorded] = []
        for grid in (Grid(4, 4), Grid(3, 5), Grid(2, 3, prefix=1)):
            x = features(2, grid.size, dim)
            found.append(Recorded(features=x, grid=grid, output=model.get_submodule(module)(x)))
        return found

    return record


@torch.no_grad()
def _onevision_video(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    vision = model.model.config.vision_config
    for side in (4, 5):
        vision.image_size = side * PATCH
        x = features(3, side * side, 24)
        output = model.model.apply_pooling(model.model.multi_modal_projector(x))
        grid = Grid(side, side, frames=3)
        found.append(Recorded(features=x.flatten(0, 1)[None], grid=grid, output=output.flatten(0, 1)[None]))
    vision.image_size = VISION.image_size
    return found


@torch.no_grad()
def _next_video(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for side in (4, 5):
        x = features(3, side * side, 24)
        output = model.model.multi_modal_projector(model.model.vision_resampler(x))
        grid = Grid(side, side, frames=3)
        found.append(Recorded(features=x.flatten(0, 1)[None], grid=grid, output=output.flatten(0, 1)[None]))
    return found


@torch.no_grad()
def _perception(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for side in (4, 5, 7):
        x = features(2, side * side, 24)
        output = model.model.multi_modal_projector(x)
        found.append(Recorded(features=x, grid=Grid(side, side), output=output))
    return found


def _video_llama(merge: int) -> Callable[[nn.Module], list[Recorded]]:
    @torch.no_grad()
    def record(model: Any) -> list[Recorded]:
        found: list[Recorded] = []
        for grid in (Grid(4, 6, frames=2), Grid(2, 2)):
            x = features(1, grid.size, 24)
            sizes = torch.tensor([[grid.frames, grid.rows, grid.cols]])
            unshuffled = model.model.vision_model.pixel_unshuffle(
                to_blocks(x[0], grid, side=merge), sizes, torch.tensor([merge])
            )
            found.append(Recorded(features=x, grid=grid, output=model.model.projector(unshuffled)[None]))
        return found

    return record


PROJECTOR = "model.multi_modal_projector"
ROWS = (
    Family(name="llava", layout="llava", build=_llava, record=_through(PROJECTOR)),
    Family(name="llava of two layers", layout="llava", build=_llava_of_two_layers, record=_through(PROJECTOR, 48)),
    Family(name="llava_next", layout="llava_next", build=_llava_next, record=_through(PROJECTOR)),
    Family(name="llava_onevision", layout="llava_onevision", build=_llava_onevision, record=_through(PROJECTOR)),
    Family(
        name="llava_onevision_video",
        layout="llava_onevision_video",
        build=_llava_onevision,
        record=_onevision_video,
        loads_by_name=True,
    ),
    Family(name="llava_next_video", layout="llava_next_video", build=_llava_next_video("average"), record=_next_video),
    Family(name="llava_next_video, max", layout="llava_next_video", build=_llava_next_video("max"), record=_next_video),
    Family(
        name="llava_next_video, images",
        layout="llava_next_video_image",
        build=_llava_next_video("average"),
        record=_through(PROJECTOR),
        loads_by_name=True,
    ),
    Family(name="video_llava", layout="video_llava", build=_video_llava, record=_through(PROJECTOR)),
    Family(name="fast_vlm", layout="fast_vlm", build=_fast_vlm, record=_through(PROJECTOR)),
    Family(name="vipllava", layout="vipllava", build=_vipllava, record=_through(PROJECTOR, 72)),
    Family(name="perception_lm", layout="perception_lm", build=_perception_lm, record=_perception),
    Family(name="deepseek_vl", layout="deepseek_vl", build=_deepseek_vl, record=_through("model.aligner")),
    Family(name="video_llama_3", layout="video_llama_3", build=_video_llama_3, record=_video_llama(2)),
    Family(
        name="video_llama_3, images",
        layout="video_llama_3_image",
        build=_video_llama_3,
        record=_video_llama(1),
        loads_by_name=True,
    ),
    *linears.ROWS,
)
