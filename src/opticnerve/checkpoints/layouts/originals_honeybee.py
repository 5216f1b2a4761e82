"""Honeybee's abstractors: the C-Abstractor, the D-Abstractor and the resampler that they are compared with."""

from functools import partial
from typing import Any

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts import honeybee, perceiver
from opticnerve.checkpoints.layouts.originals_shapes import numbers, square
from opticnerve.checkpoints.layouts.read import activation, shape, side
from opticnerve.connectors import ConnectorSpec, methods


def _abstractor(config: Config, name: str, default: Any) -> Any:  # noqa: ANN401
    """Look a setting of Honeybee's projector up: releases call its settings by two names."""
    return config.get(f"visual_projector_config.{name}", config.get(f"projector_config.{name}", default))


def _positions(shapes: Shapes, name: str) -> dict[str, Any]:
    """Return the options of learned positions, where there are any."""
    if name not in shapes:
        return {"has_position": False}
    return {"has_position": True, "pos_grid": square(shapes[name][1], name)}


def _honeybee(config: Config, spec: ConnectorSpec, *, vision_dim: int, llm_dim: int) -> Reading:
    tile, patch = side(config.get("vision_config.image_size", 0)), side(config.get("vision_config.patch_size", 0))
    views = Views(policy=f"fixed {tile} px" if tile else "", patch_px=patch, tile_px=tile, is_one_view=tile > 0)
    return Reading(spec=spec, vision_dim=vision_dim, llm_dim=llm_dim, views=views)


def _c_abstractor(config: Config, shapes: Shapes) -> Reading:
    """How many tokens come out is in no tensor."""
    depth, readout = len(numbers(shapes, r"net\.0\.b(\d+)\.")), shape(shapes, "readout.0.weight")
    num_tokens = config.get("num_query_tokens", None) or _abstractor(config, "num_query_tokens", None)
    if num_tokens is None:
        num_tokens = config.get("num_query_tokens")
    conv = shape(shapes, "net.0.b1.conv1.conv.weight") if depth else readout
    spec = methods.c_abstractor(
        out_grid=square(int(num_tokens), "num_query_tokens"),
        hidden_dim=conv[0],
        depth=depth,
        mlp_depth=len(numbers(shapes, r"readout\.(\d+)\.")),
        has_norm="prenorm.weight" in shapes,
        num_eos_tokens=shapes["eos_tokens"][1] if "eos_tokens" in shapes else 0,
        **_positions(shapes, "pos_emb"),
    )
    return _honeybee(config, spec, vision_dim=conv[1], llm_dim=readout[0])


def _d_abstractor(config: Config, shapes: Shapes) -> Reading:
    num_queries, width = shape(shapes, "query_position_embeddings.weight")
    ffn_dim, dim = shape(shapes, "layers.0.fc1.weight")
    num_heads = int(_abstractor(config, "decoder_attention_heads", 8))
    reads = shape(shapes, "layers.0.encoder_attn.attention_weights.weight")[0]
    target = "none" if width == 2 * dim else _abstractor(config, "pooled_v_target", "query")
    spec = methods.d_abstractor(
        query_grid=square(num_queries, "query_position_embeddings.weight"),
        hidden_dim=dim,
        num_layers=len(numbers(shapes, r"layers\.(\d+)\.")),
        num_heads=num_heads,
        num_points=max(1, reads // num_heads),
        ffn_dim=ffn_dim,
        function=activation(_abstractor(config, "activation_function", "relu")),
        pooled_v_target=target,
        num_eos_tokens=shapes["eos_tokens"][1] if "eos_tokens" in shapes else 0,
        **_positions(shapes, "v_pos_emb"),
    )
    vision_dim = shapes["input_proj.0.weight"][1] if "input_proj.0.weight" in shapes else dim
    llm_dim = shapes["output_proj.weight"][0] if "output_proj.weight" in shapes else dim
    return _honeybee(config, spec, vision_dim=vision_dim, llm_dim=llm_dim)


def _honeybee_resampler(config: Config, shapes: Shapes) -> Reading:
    _, num_queries, dim = shape(shapes, "query_tokens")
    num_heads = int(_abstractor(config, "num_attention_heads", 16))
    spec = methods.perceiver(
        input_projection="linear",
        input_dim=dim,
        num_latents=num_queries,
        depth=len(numbers(shapes, r"encoder\.layers\.(\d+)\.")),
        num_heads=num_heads,
        head_dim=dim // num_heads,
        has_bias=True,
        residual="normed",
        feed_forward_dim=shape(shapes, "encoder.layers.0.crossattention.output.mlp.w1.weight")[0],
        function="silu",
        gate="normed",
        gate_eps=float(_abstractor(config, "layer_norm_eps", 1e-6)),
        has_last_norm=False,
        num_eos_tokens=shapes["vit_eos"][1] if "vit_eos" in shapes else 0,
        **_positions(shapes, "pos_emb"),
    )
    widths = {"vision_dim": shape(shapes, "visual_input_fc.weight")[1]}
    return _honeybee(config, spec, **widths, llm_dim=shape(shapes, "visual_output_fc.weight")[0])


_CLIP_L = Views(policy="fixed 224 px", patch_px=14, tile_px=224, is_one_view=True)


def _example(spec: ConnectorSpec) -> Reading:
    return Reading(spec=spec, vision_dim=1024, llm_dim=4096, views=_CLIP_L)


TABLE: tuple[Layout, ...] = (
    Layout(
        name="honeybee_c_abs",
        title="Honeybee (C-Abstractor)",
        home="original",
        method="C-Abstractor",
        read=_c_abstractor,
        entries=honeybee.honeybee_c_abs,
        marks=("readout.0.weight", "readout.0.bias"),
        at=("abstractor.",),
        model_types=("mllm",),
        example=partial(_example, methods.c_abstractor(pos_grid=(16, 16))),
        tested="golden",
    ),
    Layout(
        name="honeybee_d_abs",
        title="Honeybee (D-Abstractor)",
        home="original",
        method="D-Abstractor",
        read=_d_abstractor,
        entries=honeybee.honeybee_d_abs,
        marks=("reference_points", "query_position_embeddings.weight", "layers.0.encoder_attn.sampling_offsets.weight"),
        at=("abstractor.",),
        model_types=("mllm",),
        example=partial(_example, methods.d_abstractor(pos_grid=(16, 16))),
        tested="golden",
    ),
    Layout(
        name="honeybee_resampler",
        title="Honeybee (resampler)",
        home="original",
        method="resampler",
        read=_honeybee_resampler,
        entries=perceiver.honeybee_resampler,
        marks=("query_tokens", "visual_input_fc.weight", "encoder.layers.0.crossattention.norm1.weight"),
        at=("abstractor.",),
        model_types=("mllm",),
        example=partial(
            _honeybee_resampler,
            Config(),
            {
                "query_tokens": (1, 144, 1024),
                "visual_input_fc.weight": (1024, 1024),
                "visual_output_fc.weight": (4096, 1024),
                "encoder.layers.0.crossattention.output.mlp.w1.weight": (2816, 1024),
                **{f"encoder.layers.{layer}.": () for layer in range(6)},
            },
        ),
        tested="golden",
    ),
)
