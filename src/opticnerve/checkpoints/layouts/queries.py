"""Families of transformers whose connector has learned queries."""

from functools import partial
from math import isqrt

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts import cross_attention, perceiver, qformer
from opticnerve.checkpoints.layouts.read import activation, fixed_view, side
from opticnerve.checkpoints.layouts.sequential import named
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import (
    GLU,
    LLM,
    Activation,
    BlockSpec,
    CrossAttention,
    Linear,
    Norm,
    Perceiver,
    QFormer,
    Scale,
    TextQFormer,
)
from opticnerve.errors import CheckpointError


def _qformer(config: Config, shapes: Shapes, *, name: str, policy: str = "") -> Reading:
    """Read a Q-Former; its features are those of the encoder after its last norm, CLS first."""
    del shapes
    if activation(config.get("qformer_config.hidden_act")) != "gelu":
        raise CheckpointError(
            f"{config.source} has a Q-Former whose activation is not the exact GELU; no block does that"
        )
    sizes = {
        "num_queries": int(config.get("num_query_tokens")),
        "hidden_dim": int(config.get("qformer_config.hidden_size")),
        "num_layers": int(config.get("qformer_config.num_hidden_layers")),
        "num_heads": int(config.get("qformer_config.num_attention_heads")),
        "cross_attention_freq": int(config.get("qformer_config.cross_attention_frequency")),
        "feed_forward_dim": int(config.get("qformer_config.intermediate_size")),
    }
    words = {
        "vocab_size": int(config.get("qformer_config.vocab_size")),
        "max_text_length": int(config.get("qformer_config.max_position_embeddings")),
    }
    eps = float(config.get("qformer_config.layer_norm_eps"))
    block = QFormer(**sizes, eps=eps) if name == "blip_2" else TextQFormer(**sizes, **words, eps=eps)
    return Reading(
        spec=ConnectorSpec(name=name, blocks=(block, Linear(dim=LLM))),
        vision_dim=int(config.get("vision_config.hidden_size")),
        llm_dim=int(config.get("text_config.hidden_size")),
        views=fixed_view(config, policy=policy, num_prefix=1),
    )


def _idefics(config: Config, shapes: Shapes) -> Reading:
    """Read Idefics' resampler: its tokens keep the encoder's width, for the LLM's cross-attention layers to look at."""
    del shapes
    block = Perceiver(
        num_latents=int(config.get("perceiver_config.resampler_n_latents")),
        depth=int(config.get("perceiver_config.resampler_depth")),
        num_heads=int(config.get("perceiver_config.resampler_n_heads")),
        head_dim=int(config.get("perceiver_config.resampler_head_dim")),
        has_qk_norm=bool(config.get("perceiver_config.qk_layer_norms_perceiver")),
        function="relu",
    )
    return Reading(
        spec=ConnectorSpec(name="idefics", blocks=(block,)),
        vision_dim=int(config.get("vision_config.embed_dim")),
        llm_dim=int(config.get("hidden_size")),
        views=fixed_view(config, num_prefix=1),
    )


def _idefics2(config: Config, shapes: Shapes) -> Reading:
    """Read Idefics2's connector; the patches of padding, which it masks, are left out."""
    del shapes
    num_heads = int(config.get("perceiver_config.resampler_n_heads"))
    glu = GLU(
        hidden_dim=int(config.get("text_config.intermediate_size")),
        function=activation(config.get("text_config.hidden_act")),
    )
    resampler = Perceiver(
        num_latents=int(config.get("perceiver_config.resampler_n_latents")),
        depth=int(config.get("perceiver_config.resampler_depth")),
        num_heads=num_heads,
        head_dim=int(config.get("perceiver_config.resampler_head_dim")),
        kv_group=num_heads // int(config.get("perceiver_config.num_key_value_heads")),
        norm="rms",
        eps=float(config.get("perceiver_config.rms_norm_eps")),
        function=activation(config.get("perceiver_config.hidden_act")),
        gate="plain",
    )
    return Reading(
        spec=ConnectorSpec(name="idefics2", blocks=(glu, resampler)),
        vision_dim=int(config.get("vision_config.hidden_size")),
        llm_dim=int(config.get("text_config.hidden_size")),
        views=Views(
            policy="native aspect ratio, or four quarters and the whole",
            patch_px=side(config.get("vision_config.patch_size")),
        ),
    )


def _aria(config: Config, shapes: Shapes) -> Reading:
    """Read Aria's projector; the patches of padding, which it masks, are left out.

    Its processor makes the longer side of every image one of two sizes and pads it to a square, and the projector takes
    as many queries as the square's patches stand for.
    """
    del shapes
    table = {int(patches): int(num) for patches, num in config.get("projector_patch_to_query_dict").items()}
    if odd := [patches for patches in table if isqrt(patches) ** 2 != patches]:
        raise CheckpointError(
            f"projector_patch_to_query_dict of {config.source} has {odd[0]} patches, which are no square; Aria's "
            f"processor makes squares alone"
        )
    attention = CrossAttention(
        num_queries=max(table.values()),
        queries_by_side=tuple((isqrt(patches), num) for patches, num in table.items()),
        num_heads=int(config.get("vision_config.num_attention_heads")),
        has_norms=True,
        has_inner_linears=True,
    )
    llm_dim = int(config.get("text_config.hidden_size"))
    vision_dim = int(config.get("vision_config.hidden_size"))
    blocks = (
        attention,
        Linear(dim=vision_dim),
        Norm(),
        Linear(dim=LLM, has_bias=False),
        Activation(function="gelu_tanh"),
        Linear(dim=LLM, has_bias=False),
    )
    sides = " or ".join(str(isqrt(patches)) for patches in table)
    return Reading(
        spec=ConnectorSpec(name="aria", blocks=blocks),
        vision_dim=vision_dim,
        llm_dim=llm_dim,
        views=Views(policy=f"longer side {sides} patches", patch_px=side(config.get("vision_config.patch_size"))),
    )


def _kosmos2(config: Config, shapes: Shapes) -> Reading:
    """Read all that follows the encoder's last layer: its last norm, the division by the length, the projection."""
    del shapes
    norm = Norm(eps=float(config.get("vision_config.layer_norm_eps")))
    return _kosmos(config, name="kosmos2", first=(norm,), views=fixed_view(config, num_prefix=1))


def _kosmos2_5(config: Config, shapes: Shapes) -> Reading:
    """Read all that follows the encoder. Its rows of padding are no places of an image, but they are looked at too."""
    del shapes
    most = int(config.get("vision_config.max_num_patches"))
    patch = isqrt(int(config.get("vision_config.patch_embed_hidden_size")) // 3)
    policy = f"native aspect ratio, up to {most} patches and padding up to as many"
    return _kosmos(config, name="kosmos2_5", first=(), views=Views(policy=policy, patch_px=patch))


def _kosmos(config: Config, *, name: str, first: tuple[BlockSpec, ...], views: Views) -> Reading:
    vision_dim = int(config.get("vision_config.hidden_size"))
    blocks = (
        *first,
        Norm(norm="rms_no_scale", eps=1e-24),
        Scale(factor=vision_dim**-0.5),
        Linear(dim=LLM),
        CrossAttention(
            num_queries=int(config.get("latent_query_num")),
            num_heads=int(config.get("text_config.attention_heads")),
            sees_queries=True,
        ),
    )
    return Reading(
        spec=ConnectorSpec(name=name, blocks=blocks),
        vision_dim=vision_dim,
        llm_dim=int(config.get("text_config.embed_dim")),
        views=views,
    )


def _git(config: Config, shapes: Shapes) -> Reading:
    """Read GIT's projection of one image."""
    del shapes
    if config.get("num_image_with_embedding", None) is not None:
        raise CheckpointError(
            f"{config.source} is GIT for videos, which adds a vector to all features of a frame, CLS included: that is "
            f"not supported, only GIT for images is"
        )
    norm = Norm(eps=float(config.get("vision_config.layer_norm_eps")))
    tile = side(config.get("vision_config.image_size"))
    patch = side(config.get("vision_config.patch_size"))
    return Reading(
        spec=ConnectorSpec(name="git", blocks=(Linear(dim=LLM), norm)),
        vision_dim=int(config.get("vision_config.hidden_size")),
        llm_dim=int(config.get("hidden_size")),
        views=Views(policy=f"centre crop of {tile} px", patch_px=patch, tile_px=tile, num_prefix=1, is_one_view=True),
    )


def _git_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    return named(spec, "visual_projection.visual_projection.0", "visual_projection.visual_projection.1")


def _evolla(config: Config, shapes: Shapes) -> Reading:
    """Read Evolla's compressor; the features are the residues of a protein, on a grid of one row. No padding."""
    del shapes
    dim = int(config.get("protein_encoder_config.hidden_size"))
    block = Perceiver(
        num_latents=int(config.get("resampler_num_latents")),
        depth=int(config.get("resampler_depth")),
        num_heads=int(config.get("resampler_heads")),
        head_dim=int(config.get("resampler_dim_head")),
        feed_forward_dim=dim * int(config.get("resampler_ff_mult")),
        has_last_norm=False,
    )
    return Reading(
        spec=ConnectorSpec(name="evolla", blocks=(block, Linear(dim=LLM), Norm())),
        vision_dim=dim,
        llm_dim=int(config.get("hidden_size")),
        views=Views(policy="a protein, one feature a residue"),
    )


_QFORMER = ("query_tokens", "qformer.", "language_projection.")
_WORDS = "qformer.embeddings.word_embeddings.weight"
_POST_NORM = "vision_model.model.post_layernorm."

TABLE: tuple[Layout, ...] = (
    Layout(
        name="blip_2",
        title="BLIP-2",
        home="transformers",
        method="Q-Former",
        read=partial(_qformer, name="blip_2"),
        entries=qformer.blip_2,
        marks=("query_tokens", "qformer.layernorm.weight", "language_projection.weight"),
        owns=_QFORMER,
        model_types=("blip-2",),
    ),
    Layout(
        name="instructblip",
        title="InstructBLIP",
        home="transformers",
        method="Q-Former with text",
        read=partial(_qformer, name="instructblip"),
        entries=qformer.instructblip,
        marks=("query_tokens", _WORDS, "language_projection.weight"),
        owns=_QFORMER,
        model_types=("instructblip",),
    ),
    Layout(
        name="instructblipvideo",
        title="InstructBLIP for videos",
        home="transformers",
        method="Q-Former with text",
        read=partial(_qformer, name="instructblipvideo", policy="frames, each by itself"),
        entries=qformer.instructblip,
        marks=("query_tokens", _WORDS, "language_projection.weight"),
        owns=_QFORMER,
        model_types=("instructblipvideo",),
    ),
    Layout(
        name="idefics",
        title="Idefics",
        home="transformers",
        method="perceiver, seen by the LLM's cross-attention",
        read=_idefics,
        entries=perceiver.idefics,
        marks=("latents", "blocks.0.0.context_layer_norm.weight", "layer_norm.weight"),
        at=("perceiver_resampler.",),
        model_types=("idefics",),
    ),
    Layout(
        name="idefics2",
        title="Idefics2",
        home="transformers",
        method="GLU + perceiver",
        read=_idefics2,
        entries=perceiver.idefics2,
        marks=("modality_projection.gate_proj.weight", "perceiver_resampler.latents"),
        at=("connector.",),
        model_types=("idefics2",),
    ),
    Layout(
        name="aria",
        title="Aria",
        home="transformers",
        method="cross-attention + MLP",
        read=_aria,
        entries=cross_attention.aria,
        marks=("query", "cross_attn.multihead_attn.in_proj_weight", "feed_forward.linear_in.weight"),
        at=("multi_modal_projector.",),
        model_types=("aria",),
    ),
    Layout(
        name="kosmos2",
        title="Kosmos-2",
        home="transformers",
        method="Linear + cross-attention",
        read=_kosmos2,
        entries=cross_attention.kosmos2,
        marks=("image_to_text_projection.latent_query", f"{_POST_NORM}weight"),
        owns=("image_to_text_projection.", _POST_NORM),
        model_types=("kosmos-2",),
    ),
    Layout(
        name="kosmos2_5",
        title="Kosmos-2.5",
        home="transformers",
        method="Linear + cross-attention",
        read=_kosmos2_5,
        entries=cross_attention.kosmos2_5,
        marks=("image_to_text_projection.latent_query",),
        lacks=(f"{_POST_NORM}weight",),
        owns=("image_to_text_projection.",),
        model_types=("kosmos-2.5",),
    ),
    Layout(
        name="git",
        title="GIT for images",
        home="transformers",
        method="Linear + norm",
        read=_git,
        entries=_git_entries,
        marks=("visual_projection.visual_projection.0.weight", "visual_projection.visual_projection.1.weight"),
        at=("git.",),
        owns=("visual_projection.visual_projection.",),
        model_types=("git",),
    ),
    Layout(
        name="evolla",
        title="Evolla (proteins)",
        home="transformers",
        method="perceiver + Linear + norm",
        read=_evolla,
        entries=perceiver.evolla,
        marks=("latents", "layers.0.0.to_kv.weight", "protein_projector.weight"),
        at=("sequence_compressor_resampler.",),
        model_types=("evolla",),
    ),
)
