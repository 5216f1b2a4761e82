"""Families of vision transformers: what their settings are called, and what those leave unsaid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Trait = Literal[
    "query_bias",
    "key_bias",
    "value_bias",
    "out_bias",
    "mlp_bias",
    "patch_bias",
    "gated",
    "rms",
    "query_key_norm",
    "layer_scale",
    "first_norm",
    "last_norm",
    "last_layer_norm",
    "table",
    "mask_token",
]
"""Something learned that a tower has or lacks; "gated" is an MLP of three maps, "rms" norms without a shift.

"last_norm" is like the others, "last_layer_norm" has a shift whatever the others are.
"""
Traits = frozenset[Trait]


def _traits(*names: Trait) -> Traits:
    return frozenset(names)


_QKV = _traits("query_bias", "key_bias", "value_bias")
_BIASES = _QKV | _traits("out_bias", "mlp_bias")
_USUAL = _BIASES | _traits("patch_bias", "last_norm", "table")


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """A setting that turns traits on or off."""

    traits: Traits
    on: object = True
    """Value of the setting that turns them on; any other turns them off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Towers of one kind."""

    kind: str
    """transformers' model type."""
    traits: Traits = _USUAL
    """Where the settings say nothing else."""
    switches: Mapping[str, Switch] = field(default_factory=dict[str, Switch])
    """Settings that change the traits, by name."""
    num_class_tokens: int = 0
    has_registers: bool = False
    width: str = "hidden_size"
    """Setting with the channels of a layer."""
    depth: str = "num_hidden_layers"
    """Setting with the number of layers."""
    middle: str = "intermediate_size"
    """Setting with the channels in the middle of the MLP, or "mlp_ratio"."""
    size: Literal["image_size", "num_patches", ""] = "image_size"
    """Setting with the side of the images it was trained on, or their patches; "" for towers without one."""
    table: str = ""
    """Setting with the rows of the position table; "" for one row for each class token and patch."""
    can_interpolate: bool = True
    """Takes other sizes than that of its position table."""
    is_block_ordered: bool = False
    """Cuts images into blocks of patches and clips of frames, as Qwen-VL."""
    has_windows: bool = False
    """Attends within windows in most layers."""


_DINO = _USUAL | _traits("layer_scale", "mask_token")
_DINOV2 = {
    "qkv_bias": Switch(traits=_QKV),
    "use_swiglu_ffn": Switch(traits=_traits("gated")),
    "use_mask_token": Switch(traits=_traits("mask_token")),
}
_DINOV3 = {
    "use_gated_mlp": Switch(traits=_traits("gated")),
    "query_bias": Switch(traits=_traits("query_bias")),
    "key_bias": Switch(traits=_traits("key_bias")),
    "value_bias": Switch(traits=_traits("value_bias")),
    "proj_bias": Switch(traits=_traits("out_bias")),
    "mlp_bias": Switch(traits=_traits("mlp_bias")),
}
_INTERN = _traits("out_bias", "mlp_bias", "patch_bias", "table", "layer_scale")
_NORM_TYPE = Switch(traits=_traits("rms"), on="rms_norm")
_INTERNVL = {
    "attention_bias": Switch(traits=_QKV),
    "use_qk_norm": Switch(traits=_traits("query_key_norm")),
    "norm_type": _NORM_TYPE,
    "use_mean_pooling": Switch(traits=_traits("last_layer_norm"), on=False),
    "use_mask_token": Switch(traits=_traits("mask_token")),
    "use_absolute_position_embeddings": Switch(traits=_traits("table")),
}
_INTERN_VIT = {
    "qkv_bias": Switch(traits=_QKV),
    "qk_normalization": Switch(traits=_traits("query_key_norm")),
    "norm_type": _NORM_TYPE,
}
_AIM = {
    "qkv_bias": Switch(traits=_QKV | _traits("out_bias")),
    "mlp_bias": Switch(traits=_traits("mlp_bias")),
    "is_native": Switch(traits=_traits("table"), on=False),
}

_ALL = (
    Family(kind="clip_vision_model", num_class_tokens=1, traits=_USUAL - _traits("patch_bias") | _traits("first_norm")),
    Family(kind="siglip_vision_model"),
    Family(kind="siglip2_vision_model", size="num_patches"),
    Family(kind="idefics2_vision"),
    Family(kind="idefics3_vision"),
    Family(kind="smolvlm_vision"),
    Family(kind="vit", num_class_tokens=1, switches={"qkv_bias": Switch(traits=_QKV)}),
    Family(kind="blip_2_vision_model", num_class_tokens=1, switches={"qkv_bias": Switch(traits=_QKV)}),
    Family(kind="instructblip_vision_model", num_class_tokens=1, switches={"qkv_bias": Switch(traits=_QKV)}),
    Family(kind="dinov2", num_class_tokens=1, traits=_DINO, switches=_DINOV2, middle="mlp_ratio"),
    Family(
        kind="dinov2_with_registers",
        num_class_tokens=1,
        has_registers=True,
        traits=_DINO,
        switches={name: _DINOV2[name] for name in ("qkv_bias", "use_swiglu_ffn")},
        middle="mlp_ratio",
    ),
    Family(
        kind="dinov3_vit",
        num_class_tokens=1,
        has_registers=True,
        traits=_DINO - _traits("table", "key_bias"),
        switches=_DINOV3,
    ),
    Family(kind="internvl_vision", num_class_tokens=1, traits=_INTERN, switches=_INTERNVL),
    Family(
        kind="intern_vit_6b",
        num_class_tokens=1,
        traits=_INTERN | _traits("query_key_norm", "rms"),
        switches=_INTERN_VIT,
    ),
    Family(
        kind="aimv2_vision_model",
        traits=_traits("patch_bias", "gated", "rms", "first_norm", "last_norm", "table"),
        switches=_AIM,
        can_interpolate=False,
    ),
    Family(kind="pixtral", traits=_traits("gated", "rms", "first_norm")),
    Family(
        kind="qwen2_vl_vision",
        traits=_BIASES,
        width="embed_dim",
        depth="depth",
        middle="mlp_ratio",
        size="",
        is_block_ordered=True,
    ),
    Family(
        kind="qwen2_5_vl_vision",
        traits=_BIASES | _traits("gated", "rms"),
        depth="depth",
        size="",
        is_block_ordered=True,
        has_windows=True,
    ),
    Family(
        kind="qwen3_vl_vision",
        traits=_BIASES | _traits("patch_bias", "table"),
        depth="depth",
        size="",
        table="num_position_embeddings",
        is_block_ordered=True,
    ),
)

VIT_FAMILIES: Mapping[str, Family] = MappingProxyType({family.kind: family for family in _ALL})
"""Families by model type. The last norm of Qwen-VL belongs to its merger, and is none of the tower."""

OUTER_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "clip": "clip_vision_model",
        "siglip": "siglip_vision_model",
        "siglip2": "siglip2_vision_model",
        "aimv2": "aimv2_vision_model",
        "blip-2": "blip_2_vision_model",
        "instructblip": "instructblip_vision_model",
        "internvl": "internvl_vision",
        "idefics2": "idefics2_vision",
        "idefics3": "idefics3_vision",
        "smolvlm": "smolvlm_vision",
        "qwen2_vl": "qwen2_vl_vision",
        "qwen2_5_vl": "qwen2_5_vl_vision",
        "qwen3_vl": "qwen3_vl_vision",
        "qwen3_vl_moe": "qwen3_vl_vision",
        "qwen3_vl_moe_vision": "qwen3_vl_vision",
    }
)
"""Model types of whole models, which their vision_config repeats or leaves out -> that of the tower."""
