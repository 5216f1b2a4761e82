"""Families that put neighbours side by side."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from checkpoints.families.harness import Family, Recorded, features, to_blocks
from opticnerve import Grid

DIM = 16
GRIDS = (Grid(4, 4), Grid(2, 6))
VIDEOS = (*GRIDS, Grid(4, 2, frames=2), Grid(2, 4, frames=4))

TEXT: dict[str, Any] = {
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 20,
    "vocab_size": 72,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "rope_parameters": {"rope_type": "default", "mrope_section": [2, 4, 4], "rope_theta": 1e4},
}
EXPERTS: dict[str, Any] = TEXT | {
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "num_experts": 2,
    "num_local_experts": 2,
    "n_routed_experts": 2,
    "num_experts_per_tok": 1,
}
LATENT: dict[str, Any] = EXPERTS | {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 12,
    "v_head_dim": 8,
    "rope_parameters": None,
}
QWEN_2: dict[str, Any] = {"depth": 1, "embed_dim": DIM, "hidden_size": 36, "num_heads": 2, "mlp_ratio": 2}
QWEN_2_5: dict[str, Any] = {
    "depth": 1,
    "hidden_size": DIM,
    "out_hidden_size": 36,
    "intermediate_size": 24,
    "num_heads": 2,
    "num_key_value_heads": 2,
    "fullatt_block_indexes": [0],
}
QWEN_3: dict[str, Any] = QWEN_2_5 | {"depth": 3, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
ENCODER: dict[str, Any] = {
    "hidden_size": DIM,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
AUDIO: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "num_mel_bins": 8,
    "output_dim": 40,
    "downsample_hidden_size": 8,
    "n_window": 4,
}


def _model(kind: str, config: str, **settings: Any) -> Any:
    return getattr(transformers, kind)(getattr(transformers, config)(**settings))


def _built(family: str, **settings: Any) -> Callable[[], Any]:
    """A model whose classes are named as most are."""
    return partial(_model, f"{family}ForConditionalGeneration", f"{family}Config", **settings)


@torch.no_grad()
def _record(model: Any, *, at: str, is_raster: bool = False) -> list[Recorded]:
    """Run the merger at a place, on patches block by block as the image processor gives them, or in raster order."""
    found: list[Recorded] = []
    merger = model.get_submodule(at)
    for grid in GRIDS:
        x = features(1, grid.size, DIM)
        sizes = (torch.tensor([[1, grid.rows, grid.cols]]),) if is_raster else ()
        output = merger(x[0] if is_raster else to_blocks(x[0], grid, side=2), *sizes)
        found.append(Recorded(features=x, grid=grid, output=output[None]))
    return found


def _at(place: str, **options: Any) -> Callable[[Any], list[Recorded]]:
    return partial(_record, at=place, **options)


@torch.no_grad()
def _hyperclovax(model: Any) -> list[Recorded]:
    project = model.model.projector
    return [
        Recorded(features=one.features, grid=one.grid, output=project(one.output))
        for one in _record(model, at="model.vision_model.merger")
    ]


def _replace(module: nn.Module, output: Tensor) -> Any:
    """Let a module give what we want."""

    def hook(_module: nn.Module, _inputs: object, _output: object) -> Tensor:
        return output

    return module.register_forward_hook(hook)


@torch.no_grad()
def _deepstack(model: Any) -> list[Recorded]:
    """Run the whole encoder, with features of ours in place of what each of its layers gives."""
    found: list[Recorded] = []
    visual = model.model.visual
    order = [len(visual.blocks) - 1, *visual.deepstack_visual_indexes]
    for grid in GRIDS:
        x = features(1, grid.size, len(order) * DIM)
        levels = dict(zip(order, x[0].chunk(len(order), dim=-1), strict=True))
        hooks = [_replace(visual.blocks[index], to_blocks(level, grid, side=2)) for index, level in levels.items()]
        out = visual(_pixels(model, grid), grid_thw=torch.tensor([[1, grid.rows, grid.cols]]))
        for hook in hooks:
            hook.remove()
        output = torch.cat([out.pooler_output, *out.deepstack_features], dim=-1)
        found.append(Recorded(features=x, grid=grid, output=output[None]))
    return found


def _pixels(model: Any, grid: Grid) -> Tensor:
    config = model.model.visual.config
    return torch.zeros(grid.size, config.in_channels * config.temporal_patch_size * config.patch_size**2)


@torch.no_grad()
def _kimi(model: Any) -> list[Recorded]:
    """Run the whole encoder and the projector, with features of ours in place of those of the last layer."""
    found: list[Recorded] = []
    for grid in VIDEOS:
        x = features(1, grid.size, DIM)
        hook = _replace(model.model.vision_tower.final_layernorm, x[0])
        size = torch.tensor([[grid.frames, grid.rows, grid.cols]])
        encoded = model.model.vision_tower(torch.zeros(grid.size, 3, 14, 14), grid_thw=size)
        output = model.model.mm_projector(encoded.pooler_output)
        hook.remove()
        found.append(Recorded(features=x, grid=grid, output=output.reshape(1, -1, output.shape[-1])))
    return found


@torch.no_grad()
def _ernie(model: Any) -> list[Recorded]:
    found: list[Recorded] = []
    for grid in VIDEOS:
        x = features(1, grid.size, DIM)
        size = torch.tensor([[grid.frames, grid.rows, grid.cols]])
        output = model.model.resampler_model(to_blocks(x[0], grid, side=2), size)
        found.append(Recorded(features=x, grid=grid, output=output[None]))
    return found


@torch.no_grad()
def _inkling(model: Any) -> list[Recorded]:
    """Run the whole encoder, with features of ours and a class token in place of those of the last layer."""
    found: list[Recorded] = []
    visual = model.model.vision_tower
    for grid in GRIDS:
        x = features(1, grid.size, DIM)
        hook = _replace(visual.layers[-1], torch.cat([torch.ones(1, DIM), to_blocks(x[0], grid, side=2)]))
        size = torch.tensor([[1, grid.rows // 2, grid.cols // 2]])
        output = visual(torch.zeros(grid.size // 4, 40, 40, 3), image_grid_thw=size).pooler_output
        hook.remove()
        found.append(Recorded(features=x, grid=grid, output=output[None]))
    return found


def _save_as_released(model: Any, folder: Path) -> None:
    """Save Kimi K2.5 under the names of its release: transformers 5.23 gives the norm a prefix of its own."""
    type(model).save_pretrained(model, folder)
    for file in folder.glob("*.safetensors"):
        tensors = {
            name.removeprefix("model.") if "mm_projector" in name else name: tensor
            for name, tensor in load_file(file).items()
        }
        save_file(tensors, file, metadata={"format": "pt"})


def _released_kimi() -> Any:
    model = _kimi_k25()
    model.save_pretrained = partial(_save_as_released, model)
    return model


def _kimi_k25() -> Any:
    return _model(
        "Kimi_K25ForConditionalGeneration",
        "Kimi_K25Config",
        vision_config=ENCODER | {"pos_emb_height": 4, "pos_emb_width": 4},
        text_config=LATENT | {"model_type": "deepseek_v3", "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
        projection_hidden_size=DIM,
        projection_layer_norm_eps=1e-4,
    )


FULL: dict[str, Any] = {"layer_types": ["full_attention"]}
ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 4, 4]}

QWEN = {
    "qwen2_vl": _built("Qwen2VL", vision_config=QWEN_2, text_config=TEXT),
    "qwen2_5_vl": _built("Qwen2_5_VL", vision_config=QWEN_2_5, text_config=TEXT),
    "qwen2_5_omni": _built("Qwen2_5OmniThinker", vision_config=QWEN_2_5, text_config=TEXT, audio_config=AUDIO),
    "exaone4_5": _built("Exaone4_5_", vision_config=QWEN_2_5, text_config=TEXT | {"model_type": "exaone4"}),
    "qwen3_5": _built("Qwen3_5", vision_config=QWEN_3, text_config=TEXT | FULL),
    "qwen3_5_moe": _built("Qwen3_5Moe", vision_config=QWEN_3, text_config=EXPERTS | FULL),
}
QWEN_4: dict[str, Any] = EXPERTS | {
    "layer_types": ["linear_attention"],
    "hc_count": 2,
    "hc_lowrank": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "ngram_vocab_size_base": 32,
    "split_ngram_parts": 2,
    "ple_layer_ids": [],
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 20,
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
}
DEEPSTACK = {
    "qwen3_vl": _built("Qwen3VL", vision_config=QWEN_3, text_config=TEXT),
    "qwen3_vl_moe": _built("Qwen3VLMoe", vision_config=QWEN_3, text_config=EXPERTS),
    "qwen3_omni_moe": _built("Qwen3OmniMoeThinker", vision_config=QWEN_3, text_config=EXPERTS, audio_config=AUDIO),
    "cohere_compass": _built(
        "CohereCompass",
        vision_config=QWEN_3,
        text_config=TEXT | FULL | {"rope_parameters": {"full_attention": ROPE}},
    ),
    "cosmos3_omni": _built("Cosmos3Omni", vision_config=QWEN_3, text_config=TEXT),
}
DOTS = _built(
    "Dots3Note",
    vision_config=ENCODER
    | {"adapter_in_dim": DIM, "adapter_out_dim": 40, "per_layer_config": {}, "moe_intermediate_size": 16}
    | {"num_local_experts": 2},
    text_config=LATENT
    | FULL
    | {"index_head_dim": 8, "index_n_heads": 2, "shared_experts_intermediate_size": 16, "mlp_layer_types": ["dense"]},
    audio_config=ENCODER | {"adapter_out_dim": 40, "adapter_input_size": 16, "feature_size": 8},
)
ERNIE = _built(
    "Ernie4_5_VLMoe",
    vision_config={"depth": 1, "hidden_size": DIM, "intermediate_size": 24, "num_heads": 2, "rms_norm_eps": 1e-4},
    text_config=TEXT
    | {"moe_intermediate_size": [16, 8], "moe_num_experts": 2, "moe_k": 1}
    | {"moe_layer_start_index": [0, 0], "moe_layer_end_index": [0, 0], "rms_norm_eps": 1e-3},
)
OTHERS: dict[str, tuple[Callable[[], Any], Callable[[Any], list[Recorded]]]] = {
    "colqwen2": (
        partial(
            _model,
            "ColQwen2ForRetrieval",
            "ColQwen2Config",
            vlm_config={"model_type": "qwen2_vl", "vision_config": QWEN_2, "text_config": TEXT},
        ),
        _at("vlm.visual.merger"),
    ),
    "hyperclovax_vision_v2": (_built("HyperCLOVAXVisionV2", vision_config=QWEN_2_5, text_config=TEXT), _hyperclovax),
    "dots3_note": (DOTS, _at("model.vision_tower.merger")),
    "qwen4_exp": (_built("Qwen4Exp", vision_config=QWEN_3, text_config=QWEN_4), _at("model.visual.merger")),
    "cosmos3_edge": (
        _built("Cosmos3Edge", vision_config=ENCODER | {"num_patches": 16}, text_config=TEXT, projector_hidden_size=28),
        _at("model.projector"),
    ),
    "lfm3_vl": (
        _built(
            "Lfm3Vl",
            vision_config=ENCODER | FULL,
            text_config=TEXT | {"model_type": "lfm3"},
            projector_hidden_size=28,
            projector_hidden_act="gelu_pytorch_tanh",
            projector_bias=False,
        ),
        _at("model.multi_modal_projector"),
    ),
    "paddleocr_vl": (
        _built("PaddleOCRVL", vision_config=ENCODER | {"image_size": 56}, text_config=TEXT),
        _at("model.projector", is_raster=True),
    ),
    "minimax_m3_vl": (
        partial(
            _model,
            "MiniMaxM3SparseForConditionalGeneration",
            "MiniMaxM3VLConfig",
            vision_config=ENCODER | {"image_size": 56},
            text_config=EXPERTS,
            projector_hidden_size=28,
        ),
        _at("model.multi_modal_projector"),
    ),
    "ernie4_5_vl_moe": (ERNIE, _ernie),
    "inkling2": (
        _built(
            "Inkling2",
            vision_config=ENCODER | {"posemb_grid_size": 4, "projection_hidden_dim": 28, "text_hidden_size": 40},
            text_config=EXPERTS,
        ),
        _inkling,
    ),
    "kimi_k25": (_released_kimi, _kimi),
}
MAIN = _at("model.visual.merger")

ROWS = (
    *(Family(name=name, layout=name, build=build, record=MAIN) for name, build in QWEN.items()),
    *(Family(name=name, layout=name, build=build, record=_deepstack) for name, build in DEEPSTACK.items()),
    *(Family(name=name, layout=name, build=build, record=record) for name, (build, record) in OTHERS.items()),
    Family(name="qwen3_vl", layout="qwen3_vl_merger", build=DEEPSTACK["qwen3_vl"], record=MAIN, loads_by_name=True),
    Family(
        name="qwen3_vl",
        layout="qwen3_vl",
        build=_built("Qwen3VL", vision_config=QWEN_3 | {"deepstack_visual_indexes": []}, text_config=TEXT),
        record=_deepstack,
    ),
    Family(name="kimi_k25", layout="kimi_k25_saved", build=_kimi_k25, record=_kimi),
)
