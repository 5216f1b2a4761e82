"""Releases of original repositories: how their files are laid out, with weights of the golden cases or none at all."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

CLIP = "openai/clip-vit-large-patch14-336"
HONEYBEE = {"model_type": "mllm", "lm_config": {"pretrained_lm_name_or_path": "vicuna"}}


@dataclass(frozen=True, kw_only=True)
class Release:
    """One golden case as the release of its repository would hold it."""

    layout: str
    golden: str
    """The file, without its ending."""
    prefix: str
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """config.json; empty where the repository has none."""
    unsaid: frozenset[str] = frozenset()
    """Options of blocks that the repository writes into its code, and the golden case has otherwise."""


def llava_config(kind: str, **more: object) -> dict[str, Any]:
    """LLaVA's config.json: the language model's, with settings of the images among them."""
    return {
        "model_type": "llava",
        "architectures": ["LlavaLlamaForCausalLM"],
        "hidden_size": 4096,
        "image_aspect_ratio": "pad",
        "mm_hidden_size": 1024,
        "mm_projector_type": kind,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": CLIP,
        "vocab_size": 32000,
        **more,
    }


def internvl_config(**more: object) -> dict[str, Any]:
    """InternVL-Chat's config.json; what is at the default of its class may be left out."""
    return {
        "model_type": "internvl_chat",
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": 448,
        "llm_config": {"model_type": "internlm2", "hidden_size": 4096},
        "max_dynamic_patch": 12,
        "min_dynamic_patch": 1,
        "select_layer": -1,
        "use_thumbnail": True,
        "vision_config": {"model_type": "intern_vit_6b", "hidden_size": 1024, "image_size": 448, "patch_size": 14},
        **more,
    }


MINICPM_2 = {
    "model_type": "minicpmv",
    "hidden_size": 2304,
    "image_size": 448,
    "max_slice_nums": 9,
    "patch_size": 14,
    "query_num": 64,
    "scale_resolution": 448,
    "slice_mode": True,
}
MINICPM_26 = {
    "model_type": "minicpmv",
    "version": 2.6,
    "hidden_size": 3584,
    "image_size": 448,
    "patch_size": 14,
    "query_num": 64,
    "slice_config": {"max_slice_nums": 9, "patch_size": 14, "model_type": "minicpmv"},
    "slice_mode": True,
    "vision_config": {"hidden_size": 1152, "image_size": 980, "model_type": "siglip", "patch_size": 14},
}
QWEN_VL = {
    "model_type": "qwen",
    "hidden_size": 4096,
    "visual": {"heads": 16, "image_size": 448, "layers": 48, "output_dim": 4096, "patch_size": 14, "width": 1664},
}
MOBILEVLM = {"model_type": "mobilevlm", "architectures": ["MobileLlamaForCausalLM"], "vision_tower_type": "clip"}
PLLAVA = {
    "model_type": "llava",
    "architectures": ["PlavaForConditionalGeneration"],
    "frame_shape": [24, 24],
    "num_frames": 16,
    "pooling_method": "avg",
    "pooling_shape": [16, 12, 12],
    "projector_hidden_act": "gelu",
    "text_config": {"model_type": "llama", "vocab_size": 32064},
    "use_pooling": True,
    "vision_config": {
        "hidden_size": 1024,
        "image_size": 336,
        "intermediate_size": 4096,
        "model_type": "clip_vision_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
        "projection_dim": 768,
        "vocab_size": 32000,
    },
}
NVILA = {
    "model_type": "llava_llama",
    "architectures": ["LlavaLlamaModel"],
    "dynamic_s2": True,
    "hidden_size": 3584,
    "image_aspect_ratio": "dynamic_s2",
    "max_tiles": 12,
    "mm_hidden_size": 3456,
    "mm_projector_cfg": {"mm_projector_type": "mlp_downsample", "model_type": "v2l_projector"},
    "s2_resize_output_to_scale_idx": -1,
    "s2_scales": "448,896,1344",
    "vision_tower_cfg": {"hidden_size": 1152, "image_size": 448, "model_type": "siglip_vision_model", "patch_size": 14},
}
NANOVLM = {
    "lm_hidden_dim": 960,
    "mp_image_token_length": 64,
    "mp_pixel_shuffle_factor": 4,
    "vit_cls_flag": False,
    "vit_hidden_dim": 768,
    "vit_img_size": 512,
    "vit_patch_size": 16,
}

RELEASES = (
    Release(
        layout="llava_mlp",
        golden="llava_mlp2x_gelu",
        prefix="model.mm_projector.",
        config=llava_config("mlp2x_gelu"),
    ),
    Release(layout="llava_linear", golden="llava_linear", prefix="model.mm_projector.", config=llava_config("linear")),
    Release(
        layout="llava_pooler",
        golden="llava_pooler_projector__8x8",
        prefix="model.mm_projector.",
        config=llava_config("pooler", model_type="llava_qwen"),
    ),
    Release(
        layout="llava_spatial_pool",
        golden="llava_spatial_pool__conv",
        prefix="model.vision_resampler.",
        config=llava_config("linear", model_type="llava_qwen", mm_resampler_type="spatial_pool"),
    ),
    *(
        Release(
            layout="mobilevlm_v1",
            golden=f"mobilevlm_ldpv1__{grid}",
            prefix="model.mm_projector.",
            config=llava_config("ldpnet", **MOBILEVLM),
        )
        for grid in ("8x8", "24x24")
    ),
    Release(
        layout="mobilevlm_v2",
        golden="mobilevlm_ldpv2__24x24",
        prefix="model.mm_projector.",
        config=llava_config("ldpnetv2", **MOBILEVLM),
    ),
    Release(
        layout="token_packer",
        golden="tokenpacker__s2_8x8",
        prefix="model.mm_projector.",
        config=llava_config("tokenpacker", scale_factor=2),
        unsaid=frozenset({"num_heads", "extra_dim"}),
    ),
    Release(
        layout="vila",
        golden="vila_mlp_downsample__8x8",
        prefix="",
        config={"model_type": "v2l_projector", "mm_projector_type": "mlp_downsample"},
    ),
    Release(
        layout="pllava",
        golden="pllava_projector__4f",
        prefix="multi_modal_projector.",
        config={**PLLAVA, "pooling_shape": [4, 4, 4]},
    ),
    *(
        Release(
            layout="internvl_chat", golden=f"internvl__v2_{grid}", prefix="", config=internvl_config(ps_version="v2")
        )
        for grid in ("8x8", "16x16")
    ),
    Release(layout="minigpt_v2", golden="minigpt_v2_concat__64", prefix=""),
    Release(
        layout="nanovlm", golden="nanovlm_mp__s2_8x8", prefix="MP.", config={**NANOVLM, "mp_pixel_shuffle_factor": 2}
    ),
    Release(layout="blip2_opt", golden="blip2_qformer_lavis__4L", prefix="", unsaid=frozenset({"num_heads"})),
    Release(
        layout="open_flamingo",
        golden="flamingo_perceiver__d2",
        prefix="perceiver.",
        unsaid=frozenset({"num_heads", "head_dim"}),
    ),
    Release(
        layout="qwen_vl",
        golden="qwen_vl_resampler__q16_8x8",
        prefix="transformer.visual.",
        config=QWEN_VL,
        unsaid=frozenset({"head_dim"}),
    ),
    Release(
        layout="minicpm_v",
        golden="omnilmm_resampler__q16_8x8",
        prefix="model.resampler.",
        config={"model_type": "omnilmm", "num_query": 64, "hidden_size": 4096},
        unsaid=frozenset({"head_dim"}),
    ),
    Release(
        layout="minicpm_v",
        golden="minicpmv2_resampler__q16_8x8",
        prefix="resampler.",
        config=MINICPM_2,
        unsaid=frozenset({"head_dim"}),
    ),
    Release(
        layout="minicpm_v",
        golden="minicpmv26_resampler__q16",
        prefix="resampler.",
        config=MINICPM_26,
        unsaid=frozenset({"head_dim"}),
    ),
    Release(
        layout="honeybee_c_abs",
        golden="honeybee_cabstractor__8x8_q16",
        prefix="abstractor.",
        config={
            **HONEYBEE,
            "num_query_tokens": 16,
            "visual_projector_config": {"projector_type": "c-abs", "depth": 3, "mlp_depth": 2, "pos_emb": True},
        },
    ),
    Release(
        layout="honeybee_d_abs",
        golden="honeybee_dabstractor__8x8_q16",
        prefix="abstractor.",
        config={
            **HONEYBEE,
            "num_query_tokens": 16,
            "visual_projector_config": {
                "projector_type": "d-abs",
                "decoder_attention_heads": 4,
                "pooled_v_target": "query",
            },
        },
    ),
    Release(
        layout="honeybee_resampler",
        golden="honeybee_resampler__q8",
        prefix="abstractor.",
        config={
            **HONEYBEE,
            "num_query_tokens": 8,
            "visual_projector_config": {"projector_type": "resampler", "num_attention_heads": 4},
        },
    ),
)

DECOYS = (
    "lm_head.weight",
    "model.embed_tokens.weight",
    "model.image_newline",
    "model.layers.0.mlp.gate_proj.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.0.self_attn.q_proj.bias",
    "model.norm.weight",
    "model.vision_tower.vision_tower.vision_model.encoder.layers.0.layer_norm1.weight",
    "model.vision_tower.vision_tower.vision_model.encoder.layers.0.self_attn.out_proj.bias",
    "language_model.model.layers.0.mlp.up_proj.weight",
    "llama_model.model.layers.0.self_attn.v_proj.weight",
    "transformer.h.0.attn.c_proj.weight",
    "transformer.visual.conv1.weight",
    "transformer.visual.ln_pre.weight",
    "transformer.visual.transformer.resblocks.0.attn.in_proj.weight",
    "vision_model.encoder.layers.0.attn.proj.weight",
    "vision_model.encoder.layers.0.attn.proj.bias",
    "vision_encoder.visual_projection",
    "visual_encoder.blocks.0.attn.proj.weight",
    "visual_encoder.blocks.0.norm1.bias",
    "vpm.blocks.0.attn.proj.weight",
    "decoder.blocks.0.mlp.gate_proj.weight",
)
"""What stands beside a connector: tensors of language models and encoders."""


def write(
    folder: Path, weights: Mapping[str, Tensor], *, prefix: str, config: Mapping[str, Any], has_decoys: bool = True
) -> Path:
    """Write a release: two shards, an index and a config.json."""
    folder.mkdir(parents=True)
    tensors = {prefix + name: tensor.clone() for name, tensor in weights.items()}
    if has_decoys:
        tensors |= {name: torch.full((3, 5), 7.0) for name in DECOYS}
    shards: dict[str, dict[str, Tensor]] = {}
    for number, name in enumerate(sorted(tensors)):
        shards.setdefault(f"model-0000{number % 2 + 1}-of-00002.safetensors", {})[name] = tensors[name]
    for file, held in shards.items():
        save_file(held, folder / file, metadata={"format": "pt"})
    places = {name: file for file, held in shards.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    if config:
        (folder / "config.json").write_text(json.dumps(dict(config)))
    return folder


def sparse(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Write a file of headers whose tensors are holes on the disk; return its bytes."""
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", len(text)) + text)
        opened.truncate(8 + len(text) + end)
    return end
