"""Families whose connector downsamples with convolutions."""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import (
    DeepseekOcr2Config,
    DeepseekOcr2ForConditionalGeneration,
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vMoeConfig,
    Glm4vMoeForConditionalGeneration,
    Glm5NextConfig,
    Glm5NextForConditionalGeneration,
    Glm46VConfig,
    Glm46VForConditionalGeneration,
    GlmgaConfig,
    GlmOcrConfig,
    GlmOcrForConditionalGeneration,
    GotOcr2Config,
    GotOcr2ForConditionalGeneration,
    HunYuanVLConfig,
    HunYuanVLForConditionalGeneration,
    InklingConfig,
    InklingForConditionalGeneration,
    PPChart2TableConfig,
    PPFormulaNetConfig,
    PPFormulaNetForConditionalGeneration,
    Step3p7Config,
    Step3p7ForConditionalGeneration,
    UnlimitedOcrConfig,
    UnlimitedOcrForConditionalGeneration,
)

from checkpoints.families.harness import Family, Recorded, features, to_blocks
from opticnerve import Grid

TEXT = {
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 20,
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MOE = {
    "moe_intermediate_size": 12,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
}
ROPE = {"rope_type": "default", "rope_theta": 1e4}

GLM_VISION = {
    "depth": 1,
    "hidden_size": 16,
    "num_heads": 2,
    "intermediate_size": 52,
    "out_hidden_size": 40,
    "image_size": 56,
    "patch_size": 14,
    "rms_norm_eps": 1e-4,
}
SAM = {
    "hidden_size": 20,
    "output_channels": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
    "mlp_dim": 24,
    "window_size": 2,
    "global_attn_indexes": [0],
}


def _glm(config: type[Any], model: type[Any], *, text: dict[str, Any] | None = None, **vision: object) -> Any:
    return model(
        config(vision_config={**GLM_VISION, **vision}, text_config={**TEXT, "rope_parameters": ROPE, **(text or {})})
    )


def _glm4v() -> Any:
    return _glm(Glm4vConfig, Glm4vForConditionalGeneration)


def _glm4v_moe() -> Any:
    return _glm(Glm4vMoeConfig, Glm4vMoeForConditionalGeneration, text=MOE)


def _glm_ocr() -> Any:
    return _glm(GlmOcrConfig, GlmOcrForConditionalGeneration)


def _glm5_next() -> Any:
    text = {
        **MOE,
        "kv_lora_rank": 8,
        "q_lora_rank": 12,
        "v_head_dim": 20,
        "qk_nope_head_dim": 20,
        "index_topk": 4,
        "index_head_dim": 8,
        "index_n_heads": 2,
        "index_kpool": 2,
        "linear_head_dim": 20,
        "linear_num_heads": 2,
        "mlp_layer_types": ["dense"],
    }
    del text["n_group"]
    return _glm(
        Glm5NextConfig,
        Glm5NextForConditionalGeneration,
        text=text,
        projection_intermediate_size=56,
        swiglu_limit=0.5,
    )


def _glm46v() -> Any:
    return _glm(Glm46VConfig, Glm46VForConditionalGeneration)


def _glmga() -> Any:
    return _glm(GlmgaConfig, Glm46VForConditionalGeneration)


def _hunyuan_vl() -> Any:
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "text_hidden_size": 40,
        "out_hidden_size": 40,
        "rms_norm_eps": 1e-4,
        "max_image_size": 64,
    }
    return HunYuanVLForConditionalGeneration(
        HunYuanVLConfig(vision_config=vision, text_config={**TEXT, "rope_parameters": ROPE}, image_token_id=63)
    )


def _inkling() -> Any:
    vision = {"text_hidden_size": 40, "patch_size": 6, "temporal_patch_size": 2, "num_hidden_layers": 4}
    text = {
        **TEXT,
        "swa_num_attention_heads": 2,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 20,
        "d_rel": 4,
        "rel_extent": 8,
        "moe_intermediate_size": 12,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "mlp_layer_types": ["dense"],
    }
    audio = {"n_mel_bins": 4, "mel_vocab_size": 4, "text_hidden_size": 40}
    return InklingForConditionalGeneration(
        InklingConfig(vision_config=vision, text_config=text, audio_config=audio, image_token_id=63)
    )


def _got_ocr2(config: type[Any]) -> Any:
    return GotOcr2ForConditionalGeneration(
        config(vision_config=SAM, text_config={**TEXT, "model_type": "qwen2"}, image_token_index=63)
    )


def _pp_formulanet() -> Any:
    vision = {
        **SAM,
        "post_conv_in_channels": 16,
        "post_conv_mid_channels": 28,
        "post_conv_out_channels": 36,
        "decoder_hidden_size": 40,
    }
    text = {
        "d_model": 40,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 48,
        "vocab_size": 64,
        "max_position_embeddings": 32,
    }
    return PPFormulaNetForConditionalGeneration(PPFormulaNetConfig(vision_config=vision, text_config=text))


def _step3p7() -> Any:
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 56,
        "mlp_ratio": 2.0,
        "max_position_embeddings": 16,
    }
    text = {
        **TEXT,
        "moe_intermediate_size": 12,
        "n_routed_experts": 4,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "share_expert_dim": 12,
        "mlp_layer_types": ["dense"],
        "layer_types": ["full_attention"],
    }
    return Step3p7ForConditionalGeneration(
        Step3p7Config(vision_config=vision, text_config=text, projector_bias=True, image_token_id=63)
    )


def _deepseek_ocr2() -> Any:
    text = {**TEXT, **MOE, "mlp_layer_types": ["dense"]}
    del text["n_group"], text["topk_group"], text["head_dim"]
    encoder = {key: TEXT[key] for key in TEXT if key not in ("vocab_size", "head_dim")}
    vision = {
        "sam_config": {**SAM, "downsample_channels": [24, 28]},
        "encoder_config": {**encoder, "hidden_size": 28},
    }
    return DeepseekOcr2ForConditionalGeneration(
        DeepseekOcr2Config(vision_config=vision, text_config=text, image_token_id=63)
    )


def _unlimited_ocr() -> Any:
    text = {**TEXT, **MOE, "mlp_layer_types": ["dense"]}
    del text["head_dim"]
    vision = {
        "sam_config": {**SAM, "downsample_channels": [24, 28]},
        "encoder_config": {
            "hidden_size": 28,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 16,
        },
    }
    return UnlimitedOcrForConditionalGeneration(
        UnlimitedOcrConfig(vision_config=vision, text_config=text, image_token_id=63)
    )


def _maps(x: Tensor, grid: Grid) -> Tensor:
    return rearrange(x, "b (r c) d -> b d r c", c=grid.cols)


def _tokens(maps: Tensor) -> Tensor:
    return rearrange(maps, "b d r c -> b (r c) d")


def _instead(module: nn.Module, x: Tensor) -> RemovableHandle:
    """Feed a module features of ours, whatever their code gives it."""
    return module.register_forward_pre_hook(lambda module, args: (x,))


@torch.no_grad()
def _record_glm(model: Any) -> list[Recorded]:
    """Their whole encoder, with our features put in where its last layer ends."""
    visual = model.model.visual
    found: list[Recorded] = []
    for grid in (Grid(4, 4), Grid(2, 6), Grid(4, 2, frames=2)):
        x = features(1, grid.size, 16)
        hook = _instead(visual.post_layernorm, to_blocks(x[0], grid, side=2))
        pixels = torch.zeros(grid.size, 3 * 2 * 14 * 14)
        sizes = torch.tensor([[1, grid.rows, grid.cols]] * grid.frames)  # as their get_video_features has it
        found.append(Recorded(features=x, grid=grid, output=visual(pixels, grid_thw=sizes).pooler_output[None]))
        hook.remove()
    return found


@torch.no_grad()
def _record_hunyuan_vl(model: Any) -> list[Recorded]:
    merger = model.model.vision_tower.patch_merger
    inputs = [(features(2, grid.size, 16), grid) for grid in (Grid(4, 4), Grid(2, 6), Grid(5, 7))]
    return [Recorded(features=x, grid=g, output=merger(x, size=(g.rows, g.cols))) for x, g in inputs]


@torch.no_grad()
def _record_inkling(model: Any) -> list[Recorded]:
    """Frames of 12 x 18 pixels as 2 x 3 patches of 6; our features are cells of 3 x 3 pixels."""
    found: list[Recorded] = []
    for frames in (2, 1):
        grid = Grid(4, 6, frames=frames)
        x = features(1, grid.size, 27)
        cells = "1 (t r u c v) (i j k) -> (r c) t (u i) (v j) k"
        patches = rearrange(x, cells, r=2, u=2, c=3, v=2, i=3, j=3, k=3)
        pixels = patches.expand(-1, 2, -1, -1, -1)
        output = model.get_image_features(pixels).pooler_output
        found.append(Recorded(features=x, grid=grid, output=output.transpose(0, 1)))
    return found


def _recorder(run: Callable[[Any, Tensor], Tensor], dim: int) -> Callable[[Any], list[Recorded]]:
    """Run modules that take feature maps, on even and odd grids."""

    @torch.no_grad()
    def record(model: Any) -> list[Recorded]:
        inputs = [(features(2, grid.size, dim), grid) for grid in (Grid(8, 8), Grid(4, 6), Grid(5, 7))]
        return [Recorded(features=x, grid=grid, output=run(model, _maps(x, grid))) for x, grid in inputs]

    return record


def _run_step3p7(model: Any, maps: Tensor) -> Tensor:
    """Their whole encoder, with our features put in where its last layer ends."""
    hook = _instead(model.model.vision_model.downsampler1, maps)
    output = model.model.get_image_features(torch.zeros(len(maps), 3, 56, 56)).pooler_output
    hook.remove()
    return torch.stack(output)


def _run_compressor(model: Any, maps: Tensor) -> Tensor:
    sam = model.model.vision_tower.sam_encoder
    return _tokens(sam.proj(sam.neck(maps.permute(0, 2, 3, 1))))


def _run_linear(model: Any, maps: Tensor) -> Tensor:
    return model.model.multi_modal_projector(_tokens(maps))


_record_got = _recorder(lambda model, maps: model.model.multi_modal_projector(maps), 16)
_record_formula = _recorder(lambda model, maps: model.model.encoder.multi_modal_projector(maps), 16)
_record_compressor = _recorder(_run_compressor, 20)

ROWS = (
    Family(name="glm4v", layout="glm4v", build=_glm4v, record=_record_glm),
    Family(name="glm4v_moe", layout="glm4v_moe", build=_glm4v_moe, record=_record_glm),
    Family(name="glm46v", layout="glm46v", build=_glm46v, record=_record_glm),
    Family(name="glmga", layout="glmga", build=_glmga, record=_record_glm),
    Family(name="glm_ocr", layout="glm_ocr", build=_glm_ocr, record=_record_glm),
    Family(name="glm5_next", layout="glm5_next", build=_glm5_next, record=_record_glm),
    Family(name="hunyuan_vl", layout="hunyuan_vl", build=_hunyuan_vl, record=_record_hunyuan_vl),
    Family(name="inkling", layout="inkling", build=_inkling, record=_record_inkling),
    Family(name="got_ocr2", layout="got_ocr2", build=lambda: _got_ocr2(GotOcr2Config), record=_record_got),
    Family(
        name="pp_chart2table",
        layout="pp_chart2table",
        build=lambda: _got_ocr2(PPChart2TableConfig),
        record=_record_got,
    ),
    Family(name="pp_formulanet", layout="pp_formulanet", build=_pp_formulanet, record=_record_formula),
    Family(name="step3p7", layout="step3p7", build=_step3p7, record=_recorder(_run_step3p7, 16)),
    Family(
        name="deepseek_ocr2",
        layout="deepseek_ocr2",
        build=_deepseek_ocr2,
        record=_recorder(_run_linear, 28),
    ),
    Family(
        name="deepseek_ocr2",
        layout="deepseek_ocr2_compressor",
        build=_deepseek_ocr2,
        record=_record_compressor,
        loads_by_name=True,
    ),
    Family(
        name="unlimited_ocr",
        layout="unlimited_ocr",
        build=_unlimited_ocr,
        record=_recorder(_run_linear, 56),
    ),
    Family(
        name="unlimited_ocr",
        layout="unlimited_ocr_compressor",
        build=_unlimited_ocr,
        record=_record_compressor,
        loads_by_name=True,
    ),
)
