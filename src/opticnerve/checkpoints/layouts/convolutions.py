"""Families of transformers whose connector downsamples with convolutions."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry, module
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts.inkling import INKLING
from opticnerve.checkpoints.layouts.read import activation, fixed_view, side
from opticnerve.checkpoints.layouts.sequential import paired
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import (
    GLU,
    IN,
    LLM,
    VISION,
    Activation,
    BeginTokens,
    BlockSpec,
    Downsample,
    EndTokens,
    Linear,
    Norm,
    RowTokens,
    StridedConv,
)
from opticnerve.errors import CheckpointError


def _tensors(block: BlockSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    """List the modules of a block that have names of their own: ours, and their tensors."""
    match block:
        case Linear():
            yield "linear", ("weight", "bias") if block.has_bias else ("weight",)
        case StridedConv():
            yield "conv", ("weight", "bias") if block.has_bias else ("weight",)
        case Downsample():
            yield "conv", ("weight", "bias")
        case Norm():
            yield "norm", ("weight", "bias") if block.norm == "layer" else ("weight",)
        case GLU():
            yield from ((f"glu.{part}", ("weight",)) for part in ("gate", "up", "down"))
        case _:
            pass


def _named(spec: ConnectorSpec, names: Sequence[str]) -> tuple[Entry, ...]:
    """Name the modules that hold weights one by one, first to last; a GLU has three, the last of which is down."""
    ours = [
        (f"blocks.{index}.{name}", leaves)
        for index, block in enumerate(spec.blocks)
        for name, leaves in _tensors(block)
    ]
    return tuple(entry for (one, leaves), theirs in paired(ours, names) for entry in module(one, theirs, *leaves))


def _by_name(*names: str) -> Callable[[ConnectorSpec], tuple[Entry, ...]]:
    """Make the entries of a layout from the names of its modules, first to last."""
    return lambda spec: _named(spec, names)


def _index(spec: ConnectorSpec, kind: type[BlockSpec]) -> int:
    """Find the one block of a kind.

    Raises:
        CheckpointError: there is none.
    """
    for index, block in enumerate(spec.blocks):
        if isinstance(block, kind):
            return index
    raise CheckpointError(f"the layout has a {kind.kind}, and the connector has none")


# GLM: one connector, whose gate is as wide as each family says.

_GLM_NAMES = (
    "post_layernorm",
    "downsample",
    "merger.proj",
    "merger.post_projection_norm",
    "merger.gate_proj",
    "merger.up_proj",
    "merger.down_proj",
)


def _glm(config: Config, shapes: Shapes, *, name: str, hidden: tuple[str, ...], limit: str = "") -> Reading:
    """Read a GLM connector; its gate is as wide as the product of the settings `hidden`."""
    del shapes
    blocks = (
        Norm(norm="rms", eps=float(config.get("vision_config.rms_norm_eps"))),
        Downsample(factor=int(config.get("vision_config.spatial_merge_size"))),
        Linear(dim=IN, has_bias=False),
        Norm(norm="layer", eps=1e-5),
        Activation(),
        GLU(
            hidden_dim=math.prod(int(config.get(f"vision_config.{one}")) for one in hidden),
            function=activation(config.get("vision_config.hidden_act")),
            limit=float(config.get(f"vision_config.{limit}")) if limit else None,
        ),
    )
    return Reading(
        spec=ConnectorSpec(name=name, blocks=blocks),
        vision_dim=int(config.get("vision_config.hidden_size")),
        llm_dim=int(config.get("vision_config.out_hidden_size")),
        views=Views(policy="native size", patch_px=side(config.get("vision_config.patch_size"))),
    )


def _glm_layout(name: str, title: str, *hidden: str, limit: str = "") -> Layout:
    return Layout(
        name=name,
        title=title,
        home="transformers",
        method="conv 2 x 2 + SwiGLU",
        read=partial(_glm, name=name, hidden=hidden, limit=limit),
        entries=_by_name(*_GLM_NAMES),
        marks=(
            "downsample.weight",
            "post_layernorm.weight",
            "merger.proj.weight",
            "merger.post_projection_norm.weight",
        ),
        at=("visual.",),
        owns=("post_layernorm.", "downsample.", "merger."),
        model_types=(name,),
    )


# HunYuan-VL: learned tokens where a line, the image and the end are.


def _hunyuan_vl(config: Config, shapes: Shapes) -> Reading:
    del shapes
    factor, patch = (int(config.get(f"vision_config.{one}")) for one in ("spatial_merge_size", "patch_size"))
    eps = float(config.get("vision_config.rms_norm_eps"))
    least, most = (int(config.get(f"vision_config.{one}_image_size")) for one in ("min", "max"))
    blocks = (
        Norm(norm="rms", eps=eps),
        Downsample(factor=factor, dim=VISION * 2, odd="drop"),
        Activation(function=activation(config.get("vision_config.hidden_act"))),
        StridedConv(kernel=1, stride=1, padding=0, dim=VISION * 4),
        RowTokens(),
        Linear(),
        BeginTokens(),
        EndTokens(),
        Norm(norm="rms", eps=eps),
    )
    return Reading(
        spec=ConnectorSpec(name="hunyuan_vl", blocks=blocks),
        vision_dim=int(config.get("vision_config.hidden_size")),
        llm_dim=int(config.get("vision_config.text_hidden_size")),
        views=Views(
            policy="native size",
            patch_px=patch,
            tiling="qwen",
            tiling_options={"factor_px": patch * factor, "min_pixels": least**2, "max_pixels": most**2},
        ),
    )


def _hunyuan_vl_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    linear = spec.blocks[_index(spec, Linear)]
    llm_dim = linear.out_dim(0)
    row, begin, end = (_index(spec, kind) for kind in (RowTokens, BeginTokens, EndTokens))
    return (
        *_named(spec, ("before_rms", "proj.0", "proj.2", "mlp", "after_rms")),
        Entry(theirs="image_newline", ours=(f"blocks.{row}.token",)),
        Entry(theirs="image_begin", ours=(f"blocks.{begin}.tokens",), shape=(llm_dim,)),
        Entry(theirs="image_end", ours=(f"blocks.{end}.tokens",), shape=(llm_dim,)),
        Entry(theirs="image_sep", ours=(), reason="the merger makes it and never uses it"),
    )


# Convolutions of kernel 3 and stride 2, one after another.


def _strided(*dims: int) -> tuple[BlockSpec, ...]:
    """Convolve by 3 x 3 at a stride of 2, to each of these widths and then to the LLM's."""
    return tuple(StridedConv(dim=dim, has_bias=False) for dim in (*dims, LLM))


def _got_ocr2(config: Config, shapes: Shapes, *, name: str) -> Reading:
    del shapes
    return Reading(
        spec=ConnectorSpec(
            name=name,
            blocks=(
                StridedConv(dim=IN * 2, has_bias=False),
                StridedConv(has_bias=False),
                Linear(),
            ),
        ),
        vision_dim=int(config.get("vision_config.output_channels")),
        llm_dim=int(config.get("text_config.hidden_size")),
        views=fixed_view(config),
    )


def _got_layout(name: str, title: str) -> Layout:
    return Layout(
        name=name,
        title=title,
        home="transformers",
        method="two 3 x 3 convs of stride 2 + Linear",
        read=partial(_got_ocr2, name=name),
        entries=_by_name("conv_upsampler1", "conv_upsampler2", "multimodal_projector"),
        marks=("conv_upsampler1.weight", "conv_upsampler2.weight"),
        at=("multi_modal_projector.",),
        model_types=(name,),
    )


def _pp_formulanet(config: Config, shapes: Shapes) -> Reading:
    del shapes
    middle, last = (int(config.get(f"vision_config.post_conv_{one}_channels")) for one in ("mid", "out"))
    blocks = (
        StridedConv(dim=middle, has_bias=False),
        StridedConv(dim=last, has_bias=False),
        Linear(dim=IN),
        Linear(),
    )
    tile, patch = (side(config.get(f"vision_config.{one}_size")) for one in ("image", "patch"))
    return Reading(
        spec=ConnectorSpec(name="pp_formulanet", blocks=blocks),
        vision_dim=int(config.get("vision_config.post_conv_in_channels")),
        llm_dim=int(config.get("vision_config.decoder_hidden_size")),
        views=Views(policy="margins cropped, one fixed square", patch_px=patch, tile_px=tile, is_one_view=True),
    )


def _step3p7(config: Config, shapes: Shapes) -> Reading:
    del shapes
    blocks = (
        StridedConv(dim=IN * 2),
        StridedConv(dim=IN * 2),
        Linear(has_bias=bool(config.get("projector_bias"))),
    )
    tile, patch = (side(config.get(f"vision_config.{one}_size")) for one in ("image", "patch"))
    return Reading(
        spec=ConnectorSpec(name="step3p7", blocks=blocks),
        vision_dim=int(config.get("vision_config.hidden_size")),
        llm_dim=int(config.get("text_config.hidden_size")),
        views=Views(policy=f"a view of {tile} px and crops", patch_px=patch, tile_px=tile),
    )


# DeepSeek-OCR-2 and Unlimited-OCR: convolutions between the two encoders, a Linear after the second.


def _ocr_view(config: Config, *, strides: int = 1) -> Views:
    tile, patch = (side(config.get(f"vision_config.sam_config.{one}_size")) for one in ("image", "patch"))
    return Views(policy=f"a view of {tile} px and crops", patch_px=patch * strides, tile_px=tile)


def _ocr_compressor(config: Config, shapes: Shapes, *, name: str) -> Reading:
    """Read SAM's neck and the two strided convolutions after it; what comes out is what the second encoder reads."""
    del shapes
    neck = int(config.get("vision_config.sam_config.output_channels"))
    *middle, last = (int(dim) for dim in config.get("vision_config.sam_config.downsample_channels"))
    blocks = (
        StridedConv(kernel=1, stride=1, padding=0, dim=neck, has_bias=False),
        Norm(norm="layer", eps=1e-6),
        StridedConv(stride=1, dim=neck, has_bias=False),
        Norm(norm="layer", eps=1e-6),
        *_strided(*middle),
    )
    return Reading(
        spec=ConnectorSpec(name=name, blocks=blocks),
        vision_dim=int(config.get("vision_config.sam_config.hidden_size")),
        llm_dim=last,
        views=_ocr_view(config),
    )


def _deepseek_ocr2(config: Config, shapes: Shapes) -> Reading:
    """Read the last Linear. Its features are learned queries of the second encoder: 256 for a view, 144 for a crop."""
    del shapes
    return Reading(
        spec=ConnectorSpec(name="deepseek_ocr2", blocks=(Linear(),)),
        vision_dim=int(config.get("vision_config.encoder_config.hidden_size")),
        llm_dim=int(config.get("text_config.hidden_size")),
        views=_ocr_view(config, strides=4),
    )


def _unlimited_ocr(config: Config, shapes: Shapes) -> Reading:
    """Read the last Linear. Its features are CLIP's and the compressor's side by side, CLIP's first.

    The line breaks and the separator that the model puts between the views are not part of it.
    """
    del shapes
    compressed = int(config.get("vision_config.sam_config.downsample_channels")[-1])
    return Reading(
        spec=ConnectorSpec(name="unlimited_ocr", blocks=(Linear(),)),
        vision_dim=int(config.get("vision_config.encoder_config.hidden_size")) + compressed,
        llm_dim=int(config.get("text_config.hidden_size")),
        views=_ocr_view(config, strides=4),
    )


def _ocr_layouts(name: str, title: str, read: Callable[[Config, Shapes], Reading]) -> tuple[Layout, Layout]:
    compressor = f"{name}_compressor"
    return (
        Layout(
            name=name,
            title=title,
            home="transformers",
            method="Linear",
            read=read,
            entries=_by_name(""),
            marks=("weight", "bias"),
            at=("projector.layers.",),
            model_types=(name,),
        ),
        Layout(
            name=compressor,
            title=f"{title}, between its encoders",
            home="transformers",
            method="two 3 x 3 convs of stride 2",
            read=partial(_ocr_compressor, name=compressor),
            entries=_by_name("neck.0", "neck.1", "neck.2", "neck.3", "net_2", "net_3"),
            marks=("neck.0.weight", "neck.2.weight", "net_2.weight", "net_3.weight"),
            at=("sam_model.",),
            owns=("neck.", "net_2.", "net_3."),
            model_types=(name,),
            is_part=True,
        ),
    )


TABLE: tuple[Layout, ...] = (
    _glm_layout("glm4v", "GLM-4.1V", "intermediate_size"),
    _glm_layout("glm4v_moe", "GLM-4.5V", "intermediate_size"),
    _glm_layout("glm46v", "GLM-4.6V", "intermediate_size"),
    _glm_layout("glmga", "GLM-GA", "intermediate_size"),
    _glm_layout("glm_ocr", "GLM-OCR", "out_hidden_size", "in_channels"),
    _glm_layout("glm5_next", "GLM-5.3-Flash", "projection_intermediate_size", limit="swiglu_limit"),
    Layout(
        name="hunyuan_vl",
        title="HunYuan-VL, HunyuanOCR",
        home="transformers",
        method="conv 2 x 2 + MLP + line breaks",
        read=_hunyuan_vl,
        entries=_hunyuan_vl_entries,
        marks=("image_newline", "before_rms.weight", "proj.0.weight", "mlp.weight"),
        at=("vit.perceive.", "perceive."),
        model_types=("hunyuan_vl",),
    ),
    _got_layout("got_ocr2", "GOT-OCR 2.0"),
    _got_layout("pp_chart2table", "PP-Chart2Table"),
    Layout(
        name="pp_formulanet",
        title="PP-FormulaNet",
        home="transformers",
        method="two 3 x 3 convs of stride 2 + two Linears",
        read=_pp_formulanet,
        entries=_by_name("conv1", "conv2", "linear_1", "linear_2"),
        marks=("conv1.weight", "conv2.weight", "linear_1.weight", "linear_2.weight"),
        at=("encoder.multi_modal_projector.",),
        model_types=("pp_formulanet",),
    ),
    Layout(
        name="step3p7",
        title="Step-3.7-Flash",
        home="transformers",
        method="two 3 x 3 convs of stride 2 + Linear",
        read=_step3p7,
        entries=_by_name("vision_model.vit_downsampler1", "vision_model.vit_downsampler2", "vit_large_projector"),
        marks=("vision_model.vit_downsampler1.weight", "vit_large_projector.weight"),
        owns=("vision_model.vit_downsampler", "vit_large_projector."),
        model_types=("step3p7",),
    ),
    *_ocr_layouts("deepseek_ocr2", "DeepSeek-OCR 2", _deepseek_ocr2),
    *_ocr_layouts("unlimited_ocr", "Unlimited-OCR", _unlimited_ocr),
    INKLING,
)
