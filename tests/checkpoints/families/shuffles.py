"""Families with a pixel shuffle before their projection."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from checkpoints.families.harness import Family, Recorded, features
from opticnerve import Grid

WIDTH = 24
SQUARE = (Grid(4, 4), Grid(8, 8))
ANY = (Grid(4, 6), Grid(8, 2))
SIGLIP: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
}
TEXT: dict[str, Any] = {
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "head_dim": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def recorded(run: Callable[[Any, Tensor, Grid], Tensor], *grids: Grid, width: int = WIDTH) -> Any:
    """Run their connector on grids of features, two images at a time."""

    @torch.no_grad()
    def record(model: Any) -> list[Recorded]:
        found: list[Recorded] = []
        for grid in grids:
            x = features(2, grid.size, width)
            found.append(Recorded(features=x, grid=grid, output=run(model, x, grid).reshape(2, -1, 40)))
        return found

    return record


def _internvl(kind: str) -> Callable[[], Any]:
    def build() -> Any:
        vision = {**SIGLIP, "image_size": (56, 56), "patch_size": (14, 14)}
        text = {"model_type": "qwen2" if kind == "InternVL" else "qwen3", **TEXT}
        config = getattr(hf, f"{kind}Config")(vision_config=vision, text_config=text, image_token_id=63)
        return getattr(hf, f"{kind}ForConditionalGeneration")(config)

    return build


def _run_internvl(model: Any, x: Tensor, grid: Grid) -> Tensor:
    shuffled = model.model.pixel_shuffle(x.unflatten(1, (grid.rows, grid.cols)), model.config.downsample_ratio)
    return model.model.multi_modal_projector(shuffled.flatten(1, 2))


def _lfm2_vl(**options: Any) -> Callable[[], Any]:
    def build() -> Any:
        vision = {**SIGLIP, "model_type": "siglip2_vision_model", "num_patches": 64}
        vision.pop("image_size")
        text = {"model_type": "lfm2", **TEXT, "layer_types": ["full_attention"], "block_auto_adjust_ff_dim": False}
        config = hf.Lfm2VlConfig(vision_config=vision, text_config=text, projector_hidden_size=56, **options)
        return hf.Lfm2VlForConditionalGeneration(config)

    return build


def _run_lfm2_vl(model: Any, x: Tensor, grid: Grid) -> Tensor:
    return model.model.multi_modal_projector(x.unflatten(1, (grid.rows, grid.cols)))


def _aya_vision() -> Any:
    vision = {**SIGLIP, "model_type": "siglip_vision_model", "vision_use_head": False}
    text = {"model_type": "cohere2", **TEXT}
    config = hf.AyaVisionConfig(
        vision_config=vision, text_config=text, alignment_intermediate_size=64, adapter_layer_norm_eps=1e-4
    )
    return hf.AyaVisionForConditionalGeneration(config)


def _cohere2_vision() -> Any:
    vision = {**SIGLIP, "model_type": "siglip_vision_model"}
    config = hf.Cohere2VisionConfig(
        vision_config=vision, text_config={"model_type": "cohere2", **TEXT}, alignment_intermediate_size=64
    )
    return hf.Cohere2VisionForConditionalGeneration(config)


def _run_projector(model: Any, x: Tensor, grid: Grid) -> Tensor:
    del grid
    return model.model.multi_modal_projector(x)


def _nemotron(*, predicts_more: bool) -> Callable[[], Any]:
    def build() -> Any:
        vision = {**SIGLIP, "model_type": "radio", "image_size": 64, "max_img_size": 64, "layer_norm_eps": 1e-4}
        vision.pop("intermediate_size")
        text = {
            "model_type": "nemotron_h",
            **TEXT,
            "layers_block_type": ["attention"],
            "num_nextn_predict_layers": int(predicts_more),
            "time_step_limit": (0.0, 1.0),
        }
        text.pop("num_hidden_layers")
        config = hf.NemotronH_Omni_Reasoning_V3_Config(
            vision_config={**vision, "video_temporal_patch_size": 2},
            text_config=text,
            audio_config=None,
            projector_hidden_size=56,
            vision_hidden_size=WIDTH,
        )
        return hf.NemotronH_Omni_Reasoning_V3(config)

    return build


def _run_nemotron(model: Any, x: Tensor, grid: Grid) -> Tensor:
    x = model.vision_final_layernorm(x) if model.vision_final_layernorm is not None else x
    shuffled = model.pixel_shuffle(x.unflatten(1, (grid.rows, grid.cols)), model.config.downsample_ratio)
    return model.multi_modal_projector(shuffled.flatten(1, 2))


def _idefics3(kind: str, factor: int) -> Callable[[], Any]:
    def build() -> Any:
        config = getattr(hf, f"{kind}Config")(
            vision_config=SIGLIP,
            text_config={"model_type": "llama", **TEXT},
            scale_factor=factor,
            image_token_id=63,
            pad_token_id=0,
        )
        return getattr(hf, f"{kind}ForConditionalGeneration")(config)

    return build


def _run_connector(model: Any, x: Tensor, grid: Grid) -> Tensor:
    del grid
    return model.model.connector(x)


def _bert(kind: str, text: str) -> Any:
    vision = {**SIGLIP, "model_type": "siglip_vision_model"}
    own = {name: value for name, value in TEXT.items() if name not in ("head_dim", "num_key_value_heads")}
    own |= {"model_type": text, "cls_token_id": 1, "sep_token_id": 2}
    own |= {"rms_norm_eps": 0.05} if text == "ultrabert" else {}
    return getattr(hf, f"{kind}Config")(
        vision_config=vision, text_config=own, pixel_shuffle_factor=4, image_token_id=63
    )


def _modernvbert() -> Any:
    return hf.ModernVBertForMaskedLM(_bert("ModernVBert", "modernbert"))


def _ultravbert() -> Any:
    return hf.UltraVBertForMaskedLM(_bert("UltraVBert", "ultrabert"))


def _colmodernvbert() -> Any:
    return hf.ColModernVBertForRetrieval(
        hf.ColModernVBertConfig(vlm_config=_bert("ModernVBert", "modernbert"), embedding_dim=12)
    )


def _run_vlm_connector(model: Any, x: Tensor, grid: Grid) -> Tensor:
    del grid
    return model.vlm.connector(x)


def _granite_docling(*, is_deep: bool = True, has_fine: bool = True) -> Callable[[], Any]:
    def build() -> Any:
        vision = {
            **SIGLIP,
            "out_hidden_size": 40,
            "deepstack_visual_indexes": [0, 1] if is_deep else [],
            "use_fine_route": has_fine,
        }
        text = {name: value for name, value in TEXT.items() if name != "head_dim"}
        config = hf.GraniteDoclingConfig(
            vision_config=vision,
            text_config=text,
            image_token_id=63,
            density_router_hidden_size=8 if has_fine else None,
        )
        return hf.GraniteDoclingForConditionalGeneration(config)

    return build


def _record_granite(*, is_fine: bool, num_levels: int = 3) -> Any:
    @torch.no_grad()
    def record(model: Any) -> list[Recorded]:
        found: list[Recorded] = []
        for size in (1, 1e-4):  # of small features, the first norm leaves little but the positions
            x = size * features(2, 64, WIDTH * num_levels)
            first, *deep = x.chunk(num_levels, dim=-1)
            main, stacked = model.model.vision_model.connector(first, deep, fine=is_fine)
            output = torch.cat([main, *stacked], dim=-1).reshape(2, -1, 40 * num_levels)
            found.append(Recorded(features=x, grid=Grid(8, 8), output=output))
        return found

    return record


def _llama4() -> Any:
    vision = {
        **SIGLIP,
        "intermediate_size": 4 * WIDTH,
        "projector_input_dim": 56,
        "projector_output_dim": 56,
        "vision_output_dim": 56,
    }
    text = {**TEXT, "intermediate_size_mlp": 48, "num_local_experts": 2}
    return hf.Llama4ForConditionalGeneration(hf.Llama4Config(vision_config=vision, text_config=text))


def _run_llama4(model: Any, x: Tensor, grid: Grid) -> Tensor:
    del grid
    return model.multi_modal_projector(model.vision_model.vision_adapter(x))


def _muse(kind: str) -> Callable[[], Any]:
    def build() -> Any:
        vision = {
            "hidden_size": WIDTH,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "pos_emb_height": 4,
            "pos_emb_width": 4,
        }
        text = {**TEXT, "rms_norm_eps": 1e-4, "layer_types": ["full_attention"]}
        config = getattr(hf, f"{kind}Config")
        more: dict[str, Any] = {"out_hidden_size": 4 * WIDTH, "projector_hidden_size": 56}
        if kind == "MuseSpark":
            text |= {"num_experts": 2, "num_local_experts": 2, "moe_intermediate_size": 16}
            more["audio_config"] = {
                "hidden_sizes": [8, 8, 8, 16],
                "depths": [1, 1, 1, 1],
                "out_hidden_size": 40,
            }
        return getattr(hf, f"{kind}ForConditionalGeneration")(config(vision_config=vision, text_config=text, **more))

    return build


def _run_muse(model: Any, x: Tensor, grid: Grid) -> Tensor:
    inner = model.model
    sizes = torch.tensor([[grid.frames, grid.rows, grid.cols]] * len(x))
    shuffled = inner.vision_tower.pixel_shuffle(x.flatten(0, 1), sizes)
    return inner.perception_emb_norm(inner.vision_projection(inner.vision_adapter(shuffled)))


def _mistral3(kind: str, text_type: str, **options: Any) -> Callable[[], Any]:
    def build() -> Any:
        vision = {**SIGLIP, "model_type": "pixtral", "head_dim": 12}
        text = {**TEXT, "rms_norm_eps": 1e-4}
        if text_type:
            text["model_type"] = text_type
        else:
            text |= {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "kv_lora_rank": 8}
            text |= {"qk_rope_head_dim": 8, "v_head_dim": 8, "qk_nope_head_dim": 8, "index_head_dim": 16}
            text |= {"index_n_heads": 2, "index_topk": 4, "head_dim": 8, "first_k_dense_replace": 1}
        config = getattr(hf, f"{kind}Config")(vision_config=vision, text_config=text, **options)
        return getattr(hf, f"{kind}ForConditionalGeneration")(config)

    return build


def _run_mistral3(name: str) -> Callable[[Any, Tensor, Grid], Tensor]:
    def run(model: Any, x: Tensor, grid: Grid) -> Tensor:
        sizes = [(grid.rows * 8, grid.cols * 8)] * len(x)
        return getattr(model.model, name)(x.flatten(0, 1), torch.tensor(sizes))

    return run


def _row(name: str, build: Callable[[], Any], record: Any, *, layout: str = "", loads_by_name: bool = False) -> Family:
    return Family(name=name, layout=layout or name, build=build, record=record, loads_by_name=loads_by_name)


ROWS = (
    _row("internvl", _internvl("InternVL"), recorded(_run_internvl, *ANY)),
    _row("qianfan_ocr", _internvl("QianfanOCR"), recorded(_run_internvl, *ANY)),
    _row("lfm2_vl", _lfm2_vl(), recorded(_run_lfm2_vl, *ANY)),
    _row("lfm2_vl", _lfm2_vl(projector_use_layernorm=False, projector_bias=False), recorded(_run_lfm2_vl, *ANY)),
    _row("aya_vision", _aya_vision, recorded(_run_projector, *SQUARE)),
    _row("cohere2_vision", _cohere2_vision, recorded(_run_projector, *SQUARE)),
    _row("nemotron_h_omni", _nemotron(predicts_more=False), recorded(_run_nemotron, *ANY)),
    _row("nemotron_h_omni", _nemotron(predicts_more=True), recorded(_run_nemotron, *ANY)),
    _row("idefics3", _idefics3("Idefics3", 2), recorded(_run_connector, *SQUARE)),
    _row("smolvlm", _idefics3("SmolVLM", 3), recorded(_run_connector, Grid(6, 6), Grid(9, 9))),
    _row("modernvbert", _modernvbert, recorded(_run_connector, *SQUARE)),
    _row("colmodernvbert", _colmodernvbert, recorded(_run_vlm_connector, *SQUARE)),
    _row("ultravbert", _ultravbert, recorded(_run_connector, *SQUARE)),
    _row("granite_docling", _granite_docling(), _record_granite(is_fine=False)),
    _row(
        "granite_docling",
        _granite_docling(),
        _record_granite(is_fine=True),
        layout="granite_docling_fine",
        loads_by_name=True,
    ),
    _row(
        "granite_docling",
        _granite_docling(is_deep=False, has_fine=False),
        _record_granite(is_fine=False, num_levels=1),
    ),
    _row("llama4", _llama4, recorded(_run_llama4, *SQUARE)),
    _row("muse_spark", _muse("MuseSpark"), recorded(_run_muse, *ANY, Grid(2, 4, frames=2))),
    _row("muse_glimmer", _muse("MuseGlimmer"), recorded(_run_muse, *ANY, Grid(2, 4, frames=2))),
    _row("mistral3", _mistral3("Mistral3", "mistral"), recorded(_run_mistral3("multi_modal_projector"), *ANY)),
    _row(
        "mistral3",
        _mistral3("Mistral3", "mistral", multimodal_projector_bias=True, projector_hidden_act="gelu_pytorch_tanh"),
        recorded(_run_mistral3("multi_modal_projector"), *ANY),
    ),
    _row("mistral_large4", _mistral3("MistralLarge4", ""), recorded(_run_mistral3("multi_modal_projector"), *ANY)),
    _row("lighton_ocr", _mistral3("LightOnOcr", "qwen3"), recorded(_run_mistral3("vision_projection"), *ANY)),
)
