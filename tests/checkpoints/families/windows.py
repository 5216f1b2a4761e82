"""Families that reduce inside windows, or through a codebook."""

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import transformers
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.molmo2.image_processing_molmo2 import arange_for_pooling

from checkpoints.families.harness import Family, Recorded, features
from opticnerve import Grid

QWEN3_5 = {
    "model_type": "qwen3_5_text",
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 20,
    "vocab_size": 64,
    "layer_types": ["full_attention"],
}


def _minicpm(name: str, *, times: int = 1, mode: str = "16x") -> Any:
    config = getattr(transformers, f"{name}Config")(
        vision_config={
            "hidden_size": 24,
            "intermediate_size": 20,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "layer_norm_eps": 1e-3,
        },
        text_config=QWEN3_5,
        insert_layer_id=0,
        image_size=56,
        merger_times=times,
        downsample_mode=mode,
        image_token_id=60,
        video_token_id=61,
    )
    return getattr(transformers, f"{name}ForConditionalGeneration")(config)


@torch.no_grad()
def _record_merger(model: Any, *, factor: int = 2) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(2 * factor, 2 * factor), Grid(factor, 3 * factor)):
        x = features(1, grid.size, 24)
        (output,) = model.model.merger(x, torch.tensor([[grid.rows, grid.cols]]))
        found.append(Recorded(features=x, grid=grid, output=output[None]))
    return found


@torch.no_grad()
def _record_vit_merger(model: Any) -> list[Recorded]:
    """Two images packed into one sequence, as their ViT has them."""
    grids = (Grid(4, 4), Grid(2, 6))
    parts = [features(1, grid.size, 24) for grid in grids]
    sizes = torch.tensor([[grid.rows, grid.cols] for grid in grids], dtype=torch.int32)
    output = model.model.vision_tower.vit_merger(torch.cat(parts, 1), sizes)
    outputs = output.split([grid.size // 4 for grid in grids], dim=1)
    return [Recorded(features=x, grid=g, output=y) for x, g, y in zip(parts, grids, outputs, strict=True)]


def _molmo2() -> Any:
    config = transformers.Molmo2Config(
        vision_config={
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 12,
            "image_size": [42, 42],
        },
        adapter_config={
            "vision_feature_layer": [1, 0],
            "hidden_size": 24,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 5,
            "intermediate_size": 28,
            "text_hidden_size": 40,
        },
        text_config={
            "hidden_size": 40,
            "intermediate_size": 52,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 20,
            "vocab_size": 64,
            "additional_vocab_size": 4,
        },
    )
    return transformers.Molmo2ForConditionalGeneration(config)


@torch.no_grad()
def _record_molmo2(model: Any, *, factor: int) -> list[Recorded]:
    """Windows that reach over the edge on odd grids, as their image processor lays them."""
    found: list[Recorded] = []
    for grid in (Grid(6, 6), Grid(5, 7), Grid(1, 4)):
        x = features(1, grid.size, 48)
        places = torch.arange(grid.size, dtype=torch.int32).reshape(grid.rows, grid.cols)
        windows, _, _ = arange_for_pooling(places, factor, factor)
        output = model.model.multi_modal_projector(x, windows.long()).last_hidden_state
        found.append(Recorded(features=x, grid=grid, output=output[None]))
    return found


def _granite(*, layers: list[list[int]], num_layers: int = 1) -> Any:
    config = transformers.Granite4VisionConfig(
        vision_config=transformers.SiglipVisionConfig(
            hidden_size=128,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=112,
            patch_size=14,
            vision_use_head=False,
        ),
        text_config={
            "hidden_size": 40,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": 64,
            "pad_token_id": 0,
        },
        qformer_config={
            "model_type": "blip_2_qformer",
            "num_hidden_layers": num_layers,
            "cross_attention_frequency": 2,
            "intermediate_size": 52,
            "layer_norm_eps": 1e-4,
            "hidden_dropout_prob": 0.0,
        },
        deepstack_layer_map=layers,
        downsample_rate="2/4",
        image_token_index=63,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[112, 112]],
    )
    return transformers.Granite4VisionForConditionalGeneration(config)


@torch.no_grad()
def _record_granite(model: Any) -> list[Recorded]:
    """Their whole path for one image of two tiles; the features are put in the place of the encoder's."""
    inner, found = model.model, features(2, 64, 3 * 128)
    states = BaseModelOutput(hidden_states=found.split(128, dim=-1))
    with patch.object(inner.vision_tower, "forward", lambda *args, **kwargs: states):
        newline, inner.image_newline = inner.image_newline, None
        pixels, size = torch.zeros(1, 2, 3, 112, 112), torch.tensor([[112, 112]])
        packed = inner.get_image_features(pixels, size).deepstack_features
        inner.image_newline = newline
    output = torch.cat([tokens for _, (tokens,) in packed], -1)
    return [Recorded(features=found, grid=Grid(8, 8), output=output.unflatten(0, (2, 16)))]


QWEN2 = {
    "model_type": "qwen2",
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}


def _ovis2(*, stride: int, choice: str = "softmax") -> Any:
    config = transformers.Ovis2Config(
        vision_config={
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 56,
            "vocab_size": 33,
            "hidden_stride": stride,
            "num_visual_indicator_tokens": 3,
            "tokenize_function": choice,
        },
        text_config=QWEN2,
        hidden_size=40,
        vocab_size=64,
        image_token_id=60,
        visual_indicator_token_ids=[61, 62, 63],
    )
    return transformers.Ovis2ForConditionalGeneration(config)


@torch.no_grad()
def _record_ovis2(model: Any) -> list[Recorded]:
    """Square and even grids only: their code takes no others."""
    found: list[Recorded] = []
    for grid in (Grid(4, 4), Grid(6, 6)):
        x = features(2, grid.size, 24)
        with patch.object(model.model.vision_tower.transformer, "forward", lambda *args, x=x, **kwargs: (x,)):
            output = model.model.get_image_features(torch.zeros(2, 3, 56, 56)).pooler_output
        found.append(Recorded(features=x, grid=grid, output=output))
    return found


VQ = {
    "embed_dim": 8,
    "latent_channels": 12,
    "base_channels": 32,
    "channel_multiplier": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [],
}


def _chameleon() -> Any:
    config = transformers.ChameleonConfig(
        vq_config={**VQ, "num_embeddings": 24, "resolution": 16},
        vocabulary_map={"<image>": 63},
        hidden_size=40,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=64,
    )
    return transformers.ChameleonForConditionalGeneration(config)


def _glm_image() -> Any:
    config = transformers.GlmImageConfig(
        vision_config={"depth": 1, "hidden_size": 12, "num_heads": 2, "intermediate_size": 20, "image_size": 64},
        vq_config={"embed_dim": 8, "latent_channels": 12, "num_embeddings": 24},
        text_config={
            "hidden_size": 40,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": 64,
            "vision_vocab_size": 32,
            "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 4, 4], "rope_theta": 1e4},
        },
        image_token_id=60,
        image_start_token_id=61,
        image_end_token_id=62,
    )
    return transformers.GlmImageForConditionalGeneration(config)


def _maps(x: Tensor, grid: Grid) -> Tensor:
    return x.mT.unflatten(2, (grid.rows, grid.cols))


@torch.no_grad()
def _record_chameleon(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(4, 4), Grid(3, 7)):
        x = features(2, grid.size, 12)
        maps = _maps(x, grid)
        with patch.object(model.model.vqmodel.encoder, "forward", lambda *args, maps=maps, **kwargs: maps):
            output = model.model.vqmodel.encode(torch.zeros(2, 3, 16, 16)).quantized_last_hidden_state
        found.append(Recorded(features=x, grid=grid, output=output.flatten(2).mT))
    return found


@torch.no_grad()
def _record_glm_image(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(4, 4), Grid(3, 7)):
        x = features(2, grid.size, 12)
        output = model.model.vqmodel.encode(_maps(x, grid)).quantized_last_hidden_state
        found.append(Recorded(features=x, grid=grid, output=output.flatten(2).mT))
    return found


def _emu3() -> Any:
    config = transformers.Emu3Config(
        vq_config={
            "codebook_size": 24,
            "embed_dim": 8,
            "latent_channels": 12,
            "base_channels": 32,
            "channel_multiplier": [1, 2],
            "num_res_blocks": 1,
            "attn_resolutions": [],
            "hidden_size": 64,
        },
        text_config={
            "hidden_size": 40,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "vocab_size": 64,
            "pad_token_id": 0,
        },
        vocabulary_map={"<image>": 63, "<|extra_200|>": 62},
    )
    return transformers.Emu3ForConditionalGeneration(config)


@torch.no_grad()
def _record_emu3(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in (Grid(4, 4), Grid(3, 5, frames=2)):
        x = features(2, grid.size, 8)
        video = x.unflatten(1, (grid.frames, grid.rows, grid.cols)).permute(0, 1, 4, 2, 3)
        quantise = model.model.vqmodel.quantize
        codes = quantise(video).flatten(1)
        found.append(Recorded(features=x, grid=grid, output=quantise.embedding(codes)))
    return found


def _row(name: str, build: Callable[[], Any], record: Callable[[Any], list[Recorded]], layout: str = "") -> Family:
    return Family(name=name, layout=layout or name, build=build, record=record)


_MINICPM = {"minicpmv4_6": "MiniCPMV4_6", "minicpmv4_7": "MiniCPMV4_7", "minicpm_ocr": "MiniCPMOcr"}

ROWS = (
    *(
        Family(name=name, layout=name, build=partial(_minicpm, model), record=_record_merger)
        for name, model in _MINICPM.items()
    ),
    Family(
        name="minicpmv4_6_twice",
        layout="minicpmv4_6",
        build=partial(_minicpm, "MiniCPMV4_6", times=2, mode="4x"),
        record=partial(_record_merger, factor=4),
    ),
    *(
        Family(
            name=name,
            layout=f"{name}_vit",
            build=partial(_minicpm, model),
            record=_record_vit_merger,
            loads_by_name=True,
        )
        for name, model in _MINICPM.items()
    ),
    _row("molmo2", _molmo2, partial(_record_molmo2, factor=2)),
    Family(
        name="molmo2",
        layout="molmo2_video",
        build=_molmo2,
        record=partial(_record_molmo2, factor=3),
        loads_by_name=True,
    ),
    _row("granite4_vision", partial(_granite, layers=[[0, 0], [1, 0]]), _record_granite),
    _row(
        "granite4_vision_deep",
        partial(_granite, layers=[[0, 0], [1, 0]], num_layers=3),
        _record_granite,
        "granite4_vision",
    ),
    _row("ovis2", partial(_ovis2, stride=2), _record_ovis2),
    _row("ovis2_argmax", partial(_ovis2, stride=1, choice="st_argmax"), _record_ovis2, "ovis2"),
    _row("chameleon", _chameleon, _record_chameleon),
    _row("glm_image", _glm_image, _record_glm_image),
    _row("emu3", _emu3, _record_emu3),
)
