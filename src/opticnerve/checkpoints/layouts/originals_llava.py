"""Repositories that grew out of LLaVA: their connector is mm_projector, and nothing but its tensors tells which."""

from functools import partial
from math import prod

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts import mobilevlm, originals_views, sequential, token_packer
from opticnerve.checkpoints.layouts.originals_shapes import mlp_depth
from opticnerve.checkpoints.layouts.read import activation, shape, side
from opticnerve.connectors import ConnectorSpec, methods
from opticnerve.connectors.blocks import Activation, AdaptivePool, BlockSpec, Downsample, Linear
from opticnerve.errors import CheckpointError

AT = ("model.mm_projector.", "mm_projector.")
LLAVA = (
    "llava",
    "llava_llama",
    "llava_mistral",
    "llava_mixtral",
    "llava_qwen",
    "llava_qwen2",
    "llava-qwen2",
    "llava_gemma",
    "llava_mpt",
    "llava_phi",
)
_CLIP = Config({"mm_vision_tower": "openai/clip-vit-large-patch14-336", "image_aspect_ratio": "pad"})


def _reading(config: Config, shapes: Shapes, spec: ConnectorSpec, matrix: str) -> Reading:
    """Take both widths from one matrix and its bias, which tells a transposed matrix from a sound one."""
    (llm_dim,) = shape(shapes, matrix.removesuffix("weight") + "bias")
    vision_dim = prod(shape(shapes, matrix)[:2]) // llm_dim
    return Reading(spec=spec, vision_dim=vision_dim, llm_dim=llm_dim, views=originals_views.llava(config))


def _mlp(config: Config, shapes: Shapes) -> Reading:
    spec = methods.mlp(depth=mlp_depth(config, shapes))
    return _reading(config, shapes, spec, "0.weight")


def _linear(config: Config, shapes: Shapes) -> Reading:
    return _reading(config, shapes, methods.linear(), "weight")


def _ldp(config: Config, shapes: Shapes) -> Reading:
    return _reading(config, shapes, methods.ldp(), "model.mlp.1.weight")


def _ldpv2(config: Config, shapes: Shapes) -> Reading:
    return _reading(config, shapes, methods.ldpv2(), "mlp.mlp.0.weight")


def _pooler(config: Config, shapes: Shapes) -> Reading:
    spec = methods.pool(mode="conv", place="before", hidden=(), odd="drop")
    return _reading(config, shapes, spec, "conv_pool.weight")


def _spatial_pool(config: Config, shapes: Shapes) -> Reading:
    """The convolution of SpatialPool alone: it stands before mm_projector, and keeps the encoder's width or another."""
    out, _, factor, _ = shape(shapes, "pool.weight")
    spec = ConnectorSpec(name="spatial_pool", blocks=(Downsample(factor=factor, dim=out, odd="drop"),))
    return _reading(config, shapes, spec, "pool.weight")


def _token_packer(config: Config, shapes: Shapes) -> Reading:
    """Queries come from layer -2, which is the last of the four layers that keys and values are made of."""
    points, (dim, keys) = shape(shapes, "q_proj_1.weight")[1], shape(shapes, "k_proj_1.0.weight")
    if keys % points:
        raise CheckpointError(
            f"k_proj_1.0.weight reads {keys} channels and q_proj_1.weight {points}: TokenPacker's keys are made of "
            f"whole levels of the queries' width"
        )
    spec = methods.token_packer(
        factor=int(config.get("scale_factor")),
        num_levels=keys // points,
        attn_dim=dim,
        num_heads=max(1, dim // 128),
    )
    views = originals_views.llava(config)
    return Reading(spec=spec, vision_dim=keys, llm_dim=shape(shapes, "mlp.0.weight")[0], views=views)


def _pllava(config: Config, shapes: Shapes) -> Reading:
    """Widths are those of the tensors: the published text_config leaves the LLM's out."""
    if config.get("pooling_method", "avg") != "avg":
        raise CheckpointError(f'{config.source} pools by "{config.get("pooling_method")}"; only "avg" is known')
    frames, rows, cols = (int(one) for one in config.get("pooling_shape"))
    function = activation(config.get("projector_hidden_act", "gelu"))
    blocks: list[BlockSpec] = [Linear(), Activation(function=function), Linear()]
    if config.get("use_pooling", True):
        blocks.append(AdaptivePool(rows=rows, cols=cols, frames=frames))
    tile = side(config.get("vision_config.image_size", 336))
    return Reading(
        spec=ConnectorSpec(name="pllava", blocks=tuple(blocks)),
        vision_dim=shape(shapes, "linear_1.weight")[1],
        llm_dim=shape(shapes, "linear_1.weight")[0],
        views=Views(
            policy=f"{frames} frames of {tile} px; a still image is repeated",
            patch_px=side(config.get("vision_config.patch_size", 14)),
            tile_px=tile,
            is_one_view=True,
        ),
    )


def _no_number(spec: ConnectorSpec, *, theirs: str) -> tuple[Entry, ...]:
    return sequential.named(spec, theirs)


def _example(
    spec: ConnectorSpec, *, vision_dim: int = 1024, llm_dim: int = 4096, views: Views | None = None
) -> Reading:
    if views is None:
        views = originals_views.llava(_CLIP)
    return Reading(spec=spec, vision_dim=vision_dim, llm_dim=llm_dim, views=views)


def _pllava_7b() -> Reading:
    shapes = {"linear_1.weight": (4096, 1024), "linear_2.weight": (4096, 4096)}
    return _pllava(Config({"pooling_shape": (16, 12, 12)}), shapes)


TABLE: tuple[Layout, ...] = (
    Layout(
        name="llava_mlp",
        title="LLaVA-1.5, -NeXT, -OneVision and what was trained with their code",
        home="original",
        method="MLP",
        read=_mlp,
        entries=sequential.llava_mlp,
        marks=("0.weight", "0.bias"),
        at=AT,
        model_types=LLAVA,
        example=partial(_example, methods.mlp()),
        tested="golden",
    ),
    Layout(
        name="llava_linear",
        title="LLaVA 1.0",
        home="original",
        method="Linear",
        read=_linear,
        entries=partial(_no_number, theirs=""),
        marks=("weight", "bias"),
        at=AT,
        model_types=LLAVA,
        example=partial(_example, methods.linear()),
        tested="golden",
    ),
    Layout(
        name="llava_pooler",
        title="LLaVA-NeXT with mm_projector_type pooler",
        home="original",
        method="convolution + Linear",
        read=_pooler,
        entries=sequential.llava_pooler,
        marks=("conv_pool.weight", "conv_pool.bias", "proj.1.weight"),
        at=AT,
        model_types=LLAVA,
        example=partial(_example, methods.pool(mode="conv", place="before", hidden=(), odd="drop")),
        tested="golden",
    ),
    Layout(
        name="llava_spatial_pool",
        title="LLaVA-NeXT with mm_resampler_type spatial_pool, mode conv",
        home="original",
        method="convolution",
        read=_spatial_pool,
        entries=sequential.llava_spatial_pool,
        marks=("pool.weight", "pool.bias"),
        at=("model.vision_resampler.", "vision_resampler."),
        model_types=LLAVA,
        example=partial(
            _example,
            ConnectorSpec(name="spatial_pool", blocks=(Downsample(dim=1024, odd="drop"),)),
            llm_dim=1024,
        ),
        tested="golden",
    ),
    Layout(
        name="mobilevlm_v1",
        title="MobileVLM",
        home="original",
        method="LDP",
        read=_ldp,
        entries=mobilevlm.mobilevlm_v1,
        marks=("model.mlp.1.weight", "model.mlp.3.weight", "model.mb_block.1.block.0.0.weight"),
        at=AT,
        model_types=("mobilevlm",),
        example=partial(_example, methods.ldp(), llm_dim=2048),
        tested="golden",
    ),
    Layout(
        name="mobilevlm_v2",
        title="MobileVLM V2",
        home="original",
        method="LDPv2",
        read=_ldpv2,
        entries=mobilevlm.mobilevlm_v2,
        marks=("mlp.mlp.0.weight", "mlp.mlp.2.weight", "peg.peg.0.weight"),
        at=AT,
        model_types=("mobilevlm",),
        example=partial(_example, methods.ldpv2(), llm_dim=2048),
        tested="golden",
    ),
    Layout(
        name="token_packer",
        title="TokenPacker",
        home="original",
        method="region attention",
        read=_token_packer,
        entries=token_packer.token_packer,
        marks=("q_proj_1.weight", "k_proj_1.0.weight", "clip_attn.in_proj_weight", "mlp.0.weight"),
        at=AT,
        model_types=("llava",),
        example=partial(_example, methods.token_packer(), vision_dim=4096),
        tested="golden",
    ),
    Layout(
        name="pllava",
        title="PLLaVA",
        home="original",
        method="MLP + adaptive pool",
        read=_pllava,
        entries=sequential.pllava,
        marks=("linear_1.weight", "linear_2.weight"),
        at=("multi_modal_projector.",),
        model_types=("llava", "pllava"),
        settings=("pooling_shape",),
        example=_pllava_7b,
        tested="golden",
    ),
)
