"""Families whose connector is one Linear, or a few that are not LLaVA's."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import (
    ColPaliConfig,
    ColPaliForRetrieval,
    DeepseekVLHybridConfig,
    DeepseekVLHybridForConditionalGeneration,
    GemmaConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    LlamaConfig,
    MllamaConfig,
    MllamaForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PI0Config,
    PI0ForConditionalGeneration,
    SamVisionConfig,
    SiglipVisionConfig,
)

from checkpoints.families.harness import Family, Recorded, features
from opticnerve import Grid

SIZES: dict[str, int] = {"intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


def _hybrid() -> Any:
    config = DeepseekVLHybridConfig(
        vision_config=SiglipVisionConfig(hidden_size=24, image_size=64, patch_size=16, vision_use_head=False, **SIZES),
        high_res_vision_config=SamVisionConfig(
            hidden_size=16,
            output_channels=6,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=64,
            global_attn_indexes=[1],
            mlp_dim=16,
            window_size=2,
        ),
        text_config=LlamaConfig(hidden_size=40, num_key_value_heads=2, vocab_size=64, head_dim=20, **SIZES),
        image_token_id=63,
    )
    return DeepseekVLHybridForConditionalGeneration(config)


def _janus() -> Any:
    config = JanusConfig(
        vision_config={
            "hidden_size": 24,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 64,
            "projection_dim": 40,
            "depth": 3,
        },
        vq_config={
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "num_embeddings": 16,
            "latent_channels": 32,
            "projection_dim": 40,
            "image_token_embed_dim": 40,
        },
        text_config=LlamaConfig(hidden_size=40, num_key_value_heads=2, vocab_size=64, head_dim=20, **SIZES),
        image_token_id=63,
    )
    return JanusForConditionalGeneration(config)


def _paligemma_config() -> PaliGemmaConfig:
    return PaliGemmaConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=24, image_size=56, patch_size=14, projection_dim=40, vision_use_head=False, **SIZES
        ),
        text_config=GemmaConfig(hidden_size=40, num_key_value_heads=1, vocab_size=64, head_dim=20, **SIZES),
        image_token_index=63,
        projection_dim=40,
    )


def _paligemma() -> Any:
    return PaliGemmaForConditionalGeneration(_paligemma_config())


def _colpali() -> Any:
    return ColPaliForRetrieval(ColPaliConfig(vlm_config=_paligemma_config(), embedding_dim=12))


def _pi0() -> Any:
    expert = GemmaConfig(hidden_size=32, num_key_value_heads=1, vocab_size=64, head_dim=20, **SIZES)
    return PI0ForConditionalGeneration(PI0Config(vlm_config=_paligemma_config(), dit_config=expert))


def _mllama() -> Any:
    config = MllamaConfig(
        vision_config={
            "hidden_size": 24,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_global_layers": 1,
            "attention_heads": 2,
            "image_size": 56,
            "vision_output_dim": 72,
            "intermediate_layers_indices": [0, 2],
        },
        text_config={
            "hidden_size": 40,
            "num_key_value_heads": 2,
            "vocab_size": 64,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cross_attention_layers": [1],
            **SIZES,
            "num_hidden_layers": 2,
        },
        image_token_index=63,
    )
    return MllamaForConditionalGeneration(config)


def _through(module: str, dim: int = 24) -> Callable[[nn.Module], list[Recorded]]:
    """Record a module that takes features as they are, on any grid, with or without a CLS."""

    @torch.no_grad()
    def record(model: Any) -> list[Recorded]:
        found: list[Recorded] = []
        for grid in (Grid(4, 4), Grid(3, 5, prefix=1)):
            x = features(2, grid.size, dim)
            found.append(Recorded(features=x, grid=grid, output=model.get_submodule(module)(x)))
        return found

    return record


@torch.no_grad()
def _two_encoders(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(4, 4), Grid(2, 5)):
        low, high = features(2, grid.size, 24), features(2, grid.size, 24, seed=5)
        output = model.model.aligner(low, high)
        found.append(Recorded(features=torch.cat([high, low], dim=-1), grid=grid, output=output))
    return found


@torch.no_grad()
def _cross_attended(model: Any) -> list[Recorded]:
    """Record the features as the encoder itself gives them out, one tile an item: CLS first."""
    pixels = torch.randn(1, 1, 4, 3, 56, 56, generator=torch.Generator().manual_seed(3))
    seen = model.model.vision_model(pixels, torch.tensor([[6]]), torch.ones(1, 1, 4, dtype=torch.long))
    x = seen.last_hidden_state.flatten(0, 2)
    grid = Grid(4, 4, prefix=1)
    return [Recorded(features=x, grid=grid, output=model.model.multi_modal_projector(x))]


PROJECTOR = "model.multi_modal_projector"
ROWS = (
    Family(name="deepseek_vl_hybrid", layout="deepseek_vl_hybrid", build=_hybrid, record=_two_encoders),
    Family(name="janus", layout="janus", build=_janus, record=_through("model.aligner")),
    Family(name="paligemma", layout="paligemma", build=_paligemma, record=_through(PROJECTOR)),
    Family(name="colpali", layout="colpali", build=_colpali, record=_through("vlm.multi_modal_projector")),
    Family(name="pi0", layout="pi0", build=_pi0, record=_through("model.vlm.multi_modal_projector")),
    Family(name="mllama", layout="mllama", build=_mllama, record=_cross_attended),
)
