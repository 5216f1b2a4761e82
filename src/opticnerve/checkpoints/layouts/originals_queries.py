"""Original repositories whose connector has learned queries: LAVIS, OpenFlamingo, Qwen-VL, MiniCPM-V.

How many heads an attention has is in no tensor, nor in these repositories' settings: heads of 64 channels in LAVIS and
OpenFlamingo, of 128 in Qwen-VL and MiniCPM-V, as their code says.
"""

import re
from functools import partial
from typing import Any

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry, ignored
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts import originals_views, perceiver, qformer, resampler
from opticnerve.checkpoints.layouts.originals_shapes import numbers, square
from opticnerve.checkpoints.layouts.read import shape, side
from opticnerve.connectors import ConnectorSpec, methods
from opticnerve.connectors.blocks import QFormer

_WORDS = "Qformer.bert.embeddings.word_embeddings.weight"
_LAYER = "Qformer.bert.encoder.layer"
_UNREAD = "words are not read here: text was for the first stage of training"


def _lavis(config: Config, shapes: Shapes, *, projection: str, reads_text: bool = False) -> Reading:
    del config
    _, num_queries, dim = shape(shapes, "query_tokens")
    looks = numbers(shapes, re.escape(_LAYER) + r"\.(\d+)\.crossattention\.")
    num_layers = len(numbers(shapes, re.escape(_LAYER) + r"\.(\d+)\."))
    options: dict[str, Any] = {}
    if reads_text and _WORDS in shapes:
        options = {"reads_text": True, "vocab_size": shapes[_WORDS][0]}
        options["max_text_length"] = shape(shapes, "Qformer.bert.embeddings.position_embeddings.weight")[0]
    spec = methods.qformer(
        num_queries=num_queries,
        hidden_dim=dim,
        num_layers=num_layers,
        num_heads=max(1, dim // 64),
        cross_attention_freq=looks[1] - looks[0] if len(looks) > 1 else num_layers,
        feed_forward_dim=shape(shapes, f"{_LAYER}.0.intermediate_query.dense.weight")[0],
        has_vision_norm="ln_vision.weight" in shapes,
        **options,
    )
    return Reading(
        spec=spec,
        vision_dim=shape(shapes, f"{_LAYER}.0.crossattention.self.key.weight")[1],
        llm_dim=shape(shapes, f"{projection}.weight")[0],
        views=originals_views.stretched(224, 14, num_prefix=1),
    )


def _blip2_opt(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """BLIP-2 with OPT, the text branch of stage 1 left alone where a file still has it."""
    entries = list(qformer.blip2_opt(spec))
    num_layers = next((block.num_layers for block in spec.blocks if isinstance(block, QFormer)), 0)
    for name in ("word_embeddings", "position_embeddings"):
        entries += ignored(f"Qformer.bert.embeddings.{name}", "weight", reason=_UNREAD)
    for number in range(num_layers):
        for name in ("intermediate.dense", "output.dense", "output.LayerNorm"):
            entries += ignored(f"{_LAYER}.{number}.{name}", reason=_UNREAD)
    for name in ("transform.dense", "transform.LayerNorm", "decoder"):
        entries += ignored(f"Qformer.cls.predictions.{name}", reason=_UNREAD)
    return (*entries, *ignored("Qformer.cls.predictions", "bias", reason=_UNREAD))


def _flamingo(config: Config, shapes: Shapes) -> Reading:
    """There is no projection: gated cross-attention takes the encoder's width."""
    del config
    num_latents, dim = shape(shapes, "latents")
    spec = methods.perceiver(
        num_latents=num_latents,
        depth=len(numbers(shapes, r"layers\.(\d+)\.")),
        num_heads=max(1, shape(shapes, "layers.0.0.to_q.weight")[0] // 64),
        head_dim=min(64, shape(shapes, "layers.0.0.to_q.weight")[0]),
        feed_forward_dim=shape(shapes, "layers.0.1.1.weight")[0],
        max_frames=shapes["frame_embs"][0] if "frame_embs" in shapes else 0,
        has_projection=False,
    )
    views = Views(policy="fixed 224 px, the middle of the image", patch_px=14, tile_px=224, is_one_view=True)
    return Reading(spec=spec, vision_dim=dim, llm_dim=dim, views=views)


def _qwen_vl(config: Config, shapes: Shapes) -> Reading:
    num_queries, dim = shape(shapes, "attn_pool.query")
    has_kv_proj = "attn_pool.kv_proj.weight" in shapes
    spec = methods.qwen_vl_resampler(
        query_grid=square(num_queries, "attn_pool.query"), dim=dim, has_kv_proj=has_kv_proj
    )
    return Reading(
        spec=spec,
        vision_dim=shapes["attn_pool.kv_proj.weight"][1] if has_kv_proj else dim,
        llm_dim=shape(shapes, "proj")[1],
        views=originals_views.stretched(
            side(config.get("visual.image_size", 0)), side(config.get("visual.patch_size", 0))
        ),
    )


def _minicpm(config: Config, shapes: Shapes) -> Reading:
    """Up to 2.0 queries have positions, which are stored; 1.0 and OmniLMM have no slices, and resize them for keys."""
    num_queries, dim = shape(shapes, "query")
    has_table, has_kv_proj = "pos_embed" in shapes, "kv_proj.weight" in shapes
    if has_table and not config.is_known:
        config.get("slice_mode")
    is_resized = has_table and config.get("slice_mode", None) is None
    spec = methods.minicpm_resampler(
        num_queries=num_queries,
        has_query_positions=has_table,
        key_positions="resized" if is_resized else "computed",
        dim=dim,
        has_kv_proj=has_kv_proj,
    )
    return Reading(
        spec=spec,
        vision_dim=shapes["kv_proj.weight"][1] if has_kv_proj else dim,
        llm_dim=shape(shapes, "proj")[1],
        views=originals_views.minicpm(config),
    )


def _example(spec: ConnectorSpec, vision_dim: int, llm_dim: int, views: Views | None = None) -> Reading:
    return Reading(spec=spec, vision_dim=vision_dim, llm_dim=llm_dim, views=views or Views())


_CORE = ("query_tokens", "Qformer.bert.embeddings.LayerNorm.weight")
_VIT_G = originals_views.stretched(224, 14, num_prefix=1)
_CLIP_L = Views(policy="fixed 224 px", patch_px=14, tile_px=224, is_one_view=True)
_SLICES = Config({"slice_mode": True, "slice_config": {"max_slice_nums": 9, "scale_resolution": 448}})


def _owned(projection: str) -> tuple[str, ...]:
    return ("query_tokens", "Qformer.", "ln_vision.", f"{projection}.")


TABLE: tuple[Layout, ...] = (
    Layout(
        name="blip2_opt",
        title="BLIP-2 with OPT (LAVIS)",
        home="original",
        method="Q-Former",
        read=partial(_lavis, projection="opt_proj"),
        entries=_blip2_opt,
        marks=(*_CORE, "opt_proj.weight"),
        owns=_owned("opt_proj"),
        example=partial(_example, methods.qformer(), 1408, 2560, _VIT_G),
        tested="golden",
    ),
    Layout(
        name="blip2_t5",
        title="BLIP-2 with Flan-T5 (LAVIS)",
        home="original",
        method="Q-Former",
        read=partial(_lavis, projection="t5_proj"),
        entries=qformer.blip2_t5,
        marks=(*_CORE, "t5_proj.weight"),
        lacks=(_WORDS,),
        owns=_owned("t5_proj"),
        example=partial(_example, methods.qformer(), 1408, 2048, _VIT_G),
        tested="golden, with OPT's name of the projection",
    ),
    Layout(
        name="instructblip_t5",
        title="InstructBLIP with Flan-T5 (LAVIS)",
        home="original",
        method="Q-Former that reads",
        read=partial(_lavis, projection="t5_proj", reads_text=True),
        entries=qformer.blip2_t5,
        marks=(*_CORE, "t5_proj.weight", _WORDS),
        owns=_owned("t5_proj"),
        example=partial(_example, methods.qformer(reads_text=True), 1408, 2048, _VIT_G),
        tested="names and shapes; the blocks against transformers",
    ),
    Layout(
        name="instructblip_llm",
        title="InstructBLIP with Vicuna (LAVIS)",
        home="original",
        method="Q-Former that reads",
        read=partial(_lavis, projection="llm_proj", reads_text=True),
        entries=qformer.instructblip_llm,
        marks=(*_CORE, "llm_proj.weight"),
        owns=_owned("llm_proj"),
        example=partial(_example, methods.qformer(reads_text=True), 1408, 4096, _VIT_G),
        tested="names and shapes; the blocks against transformers",
    ),
    Layout(
        name="open_flamingo",
        title="OpenFlamingo",
        home="original",
        method="perceiver",
        read=_flamingo,
        entries=perceiver.flamingo,
        marks=("latents", "layers.0.0.to_kv.weight", "norm.weight"),
        at=("perceiver.",),
        example=partial(_example, methods.perceiver(has_projection=False), 1024, 1024, _CLIP_L),
        tested="golden",
    ),
    Layout(
        name="qwen_vl",
        title="Qwen-VL",
        home="original",
        method="resampler",
        read=_qwen_vl,
        entries=resampler.qwen_vl,
        marks=("attn_pool.query", "attn_pool.pos_embed", "attn_pool.attn.in_proj_weight", "ln_post.weight", "proj"),
        at=("transformer.visual.", "visual."),
        owns=("attn_pool.", "ln_post.", "proj"),
        model_types=("qwen",),
        example=partial(_example, methods.qwen_vl_resampler(), 1664, 4096, originals_views.stretched(448, 14)),
        tested="golden",
    ),
    Layout(
        name="minicpm_v",
        title="OmniLMM, MiniCPM-V 1.0 to 4.5, MiniCPM-o 2.6",
        home="original",
        method="resampler",
        read=_minicpm,
        entries=resampler.minicpm_v,
        marks=("query", "attn.in_proj_weight", "ln_q.weight", "ln_kv.weight", "ln_post.weight", "proj"),
        at=("resampler.",),
        model_types=("minicpmv", "minicpmo", "omnilmm"),
        example=partial(
            _example, methods.minicpm_resampler(num_queries=64), 1152, 3584, originals_views.minicpm(_SLICES)
        ),
        tested="golden",
    ),
)
