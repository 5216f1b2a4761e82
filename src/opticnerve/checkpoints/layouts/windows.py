"""Families of transformers that reduce inside windows, or through a codebook."""

from collections.abc import Mapping

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry, module
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts import codebooks, granite
from opticnerve.checkpoints.layouts.read import activation, side
from opticnerve.checkpoints.layouts.sequential import named
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import (
    GLU,
    IN,
    LLM,
    Activation,
    BlockSpec,
    Branches,
    Linear,
    Merge,
    Norm,
    Pool,
    WindowAttention,
)
from opticnerve.errors import CheckpointError

_MINICPM = {"minicpmv4_6": "MiniCPM-V 4.6", "minicpmv4_7": "MiniCPM-V 4.7", "minicpm_ocr": "MiniCPM-OCR"}

_MINICPM_ATTENTION = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.out_proj",
}

_MOLMO2_ATTENTION = {
    "query": "image_pooling_2d.wq",
    "key": "image_pooling_2d.wk",
    "value": "image_pooling_2d.wv",
    "out": "image_pooling_2d.wo",
}

_MOLMO2_GLU = {"gate": "image_projector.w1", "up": "image_projector.w3", "down": "image_projector.w2"}


def _minicpm(config: Config, shapes: Shapes) -> Reading:
    """MiniCPM's merger at the end: `merger_times` times 2 x 2 patches into one, the last time into the LLM's width.

    In the mode "16x" the features are those of a ViT whose middle has merged 2 x 2 patches already (`_minicpm_vit`); in
    the mode "4x" that merger is skipped.
    """
    del shapes
    rows, cols = config.get("merge_kernel_size")
    dim, times = int(config.get("vision_config.hidden_size")), int(config.get("merger_times"))
    blocks: list[BlockSpec] = []
    for number in range(times):
        blocks += [
            Merge(rows=int(rows), cols=int(cols)),
            Norm(norm="layer", eps=1e-6),
            Linear(dim=IN),
            Activation(),
            Linear(dim=LLM if number == times - 1 else dim),
        ]
    has_merged = config.get("downsample_mode") != "4x"
    return Reading(
        spec=ConnectorSpec(name="minicpm_merger", blocks=tuple(blocks)),
        vision_dim=dim,
        llm_dim=int(config.get("text_config.hidden_size")),
        views=_slices(config, merged=2 if has_merged else 1),
    )


def _minicpm_vit(config: Config, shapes: Shapes) -> Reading:
    """MiniCPM's merger inside the ViT, after layer `insert_layer_id`: its output is as wide as its input.

    The last block adds the mean of each window to what the MLP makes of it.
    """
    del shapes
    rows, cols = (int(one) for one in config.get("vision_config.window_kernel_size"))
    if rows != cols:
        raise CheckpointError(f"MiniCPM's windows must be square, but window_kernel_size is {rows} x {cols}")
    dim, heads = int(config.get("vision_config.hidden_size")), int(config.get("vision_config.num_attention_heads"))
    eps = float(config.get("vision_config.layer_norm_eps"))
    hidden = int(config.get("vision_config.intermediate_size")) * rows * cols
    look = (
        Norm(norm="layer", eps=eps),
        WindowAttention(side=rows, query="self", num_heads=heads, head_dim=dim // heads),
    )
    think = (
        Merge(rows=rows, cols=cols),
        Norm(norm="layer", eps=eps),
        Linear(dim=hidden),
        Activation(function="gelu_tanh"),
        Linear(dim=dim),
    )
    blocks = (
        Branches(branches=((), look), join="sum"),
        Branches(branches=(think, (Pool(factor=rows, mode="average"),)), join="sum"),
    )
    return Reading(
        spec=ConnectorSpec(name="minicpm_vit_merger", blocks=blocks),
        vision_dim=dim,
        llm_dim=int(config.get("text_config.hidden_size")),
        views=_slices(config, merged=1),
    )


def _slices(config: Config, *, merged: int) -> Views:
    """Describe MiniCPM's slices, whose sides are multiples of what one visual token sees; 9 are the processor's most.

    MiniCPM-OCR's processor may look at the glyphs to choose the size (`small_image_upsize`), which no tiling does.

    Args:
        config: says how far the patches are merged in all.
        merged: patches a side of one feature.
    """
    patch, area = side(config.get("vision_config.patch_size")), side(config.get("image_size", 448))
    in_all = 2 if config.get("downsample_mode") == "4x" else 4
    sees_glyphs = config.model_type == "minicpm_ocr"
    return Views(
        policy=f"the whole image and up to 9 slices, each of about the area of {area} x {area} px",
        patch_px=patch * merged,
        tiling="" if sees_glyphs else "minicpm",
        tiling_options={} if sees_glyphs else {"max_slices": 9, "scale_px": area, "multiple_px": patch * in_all},
    )


def _minicpm_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    times = sum(isinstance(block, Merge) for block in spec.blocks)
    leaves = ("pre_norm", "linear_1", "linear_2")
    return named(spec, *(f"mlp.{number}.{leaf}" for number in range(times) for leaf in leaves))


def _minicpm_vit_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    del spec
    look, think = "blocks.0.branches.1", "blocks.1.branches.0"
    return (
        *module(f"{look}.0.norm", "layer_norm1"),
        *_linears(f"{look}.1.attention", _MINICPM_ATTENTION),
        *module(f"{think}.1.norm", "pre_norm"),
        *module(f"{think}.2.linear", "linear_1"),
        *module(f"{think}.4.linear", "linear_2"),
    )


def _linears(ours: str, names: Mapping[str, str], *leaves: str) -> tuple[Entry, ...]:
    """List several modules of one of ours.

    Args:
        ours: our name of the module that holds them.
        names: of each of them, ours and the published one.
        leaves: their tensors; weight and bias if none are named.
    """
    return tuple(entry for name, theirs in names.items() for entry in module(f"{ours}.{name}", theirs, *leaves))


def _molmo2(config: Config, shapes: Shapes, *, factor: int = 2) -> Reading:
    """Molmo2's adapter: each 2 x 2 window becomes one token for an image, each 3 x 3 for a video, by the same weights.

    The features are those of the layers in `adapter_config.vision_feature_layer`, side by side in that order, on the
    grid that the crops make when their overlap is cut away (and on that of the whole image, by itself). The factor is
    the processor's, not the model's.
    """
    del shapes
    adapter = "adapter_config"
    if config.get(f"{adapter}.mlp_bias"):
        raise CheckpointError("this Molmo2 adapter has biases in two of its three Linears, which no block has")
    num_levels = len(config.get(f"{adapter}.vision_feature_layer"))
    dim, heads = int(config.get(f"{adapter}.hidden_size")), int(config.get(f"{adapter}.num_attention_heads"))
    blocks = (
        WindowAttention(
            side=factor,
            query="mean",
            dim=dim,
            num_heads=heads,
            head_dim=int(config.get(f"{adapter}.head_dim")),
            kv_group=heads // int(config.get(f"{adapter}.num_key_value_heads")),
            has_bias=bool(config.get(f"{adapter}.attention_bias")),
            odd="mask",
        ),
        GLU(
            hidden_dim=int(config.get(f"{adapter}.intermediate_size")),
            function=activation(config.get(f"{adapter}.hidden_act")),
        ),
    )
    tile, patch = side(config.get("vision_config.image_size")), int(config.get("vision_config.patch_size"))
    return Reading(
        spec=ConnectorSpec(name="molmo2", blocks=blocks, num_levels=num_levels),
        vision_dim=num_levels * dim,
        llm_dim=int(config.get(f"{adapter}.text_hidden_size")),
        views=Views(
            policy=f"overlapping crops of {tile} px and the whole image" if factor == 2 else f"frames of {tile} px",
            patch_px=patch,
            tile_px=tile,
        ),
    )


def _molmo2_video(config: Config, shapes: Shapes) -> Reading:
    return _molmo2(config, shapes, factor=3)


def _molmo2_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    block = spec.blocks[0]
    leaves = ("weight", "bias") if isinstance(block, WindowAttention) and block.has_bias else ("weight",)
    return (
        *_linears("blocks.0.attention", _MOLMO2_ATTENTION, *leaves),
        *_linears("blocks.1.glu", _MOLMO2_GLU, "weight"),
    )


TABLE: tuple[Layout, ...] = (
    *(
        Layout(
            name=name,
            title=title,
            home="transformers",
            method="concat + norm + MLP",
            read=_minicpm,
            entries=_minicpm_entries,
            marks=("mlp.0.pre_norm.weight", "mlp.0.linear_1.weight", "mlp.0.linear_2.weight"),
            at=("merger.",),
            model_types=(name,),
        )
        for name, title in _MINICPM.items()
    ),
    *(
        Layout(
            name=f"{name}_vit",
            title=f"{title}, inside the ViT",
            home="transformers",
            method="window attention + concat + MLP, mean as residual",
            read=_minicpm_vit,
            entries=_minicpm_vit_entries,
            marks=("layer_norm1.weight", "self_attn.q_proj.weight", "pre_norm.weight", "linear_1.weight"),
            at=("vit_merger.",),
            model_types=(name,),
            is_part=True,
        )
        for name, title in _MINICPM.items()
    ),
    Layout(
        name="molmo2",
        title="Molmo 2 (images)",
        home="transformers",
        method="window attention of the mean + SwiGLU",
        read=_molmo2,
        entries=_molmo2_entries,
        marks=("image_pooling_2d.wq.weight", "image_projector.w1.weight"),
        at=("vision_backbone.",),
        owns=("image_pooling_2d.", "image_projector."),
        model_types=("molmo2",),
    ),
    Layout(
        name="molmo2_video",
        title="Molmo 2 (videos)",
        home="transformers",
        method="window attention of the mean + SwiGLU",
        read=_molmo2_video,
        entries=_molmo2_entries,
        marks=("image_pooling_2d.wq.weight", "image_projector.w1.weight"),
        at=("vision_backbone.",),
        owns=("image_pooling_2d.", "image_projector."),
        example=lambda: _molmo2_video(Config.default("molmo2"), {}),
    ),
    *granite.TABLE,
    *codebooks.TABLE,
)
