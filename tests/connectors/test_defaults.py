"""Every method, with no option given, is the published one: its blocks with every number that matters."""

import pytest

from connectors.small import NAMES
from opticnerve import IN, LLM, method
from opticnerve.connectors.blocks import (
    PEG,
    Activation,
    AdaptivePool,
    AttendedMerging,
    BlockSpec,
    DeformableDecoder,
    DiverseSelection,
    EveryKth,
    FarthestPoint,
    FitWidth,
    GridPositions,
    InvertedResidual,
    Linear,
    Merge,
    Norm,
    Perceiver,
    Pool,
    QFormer,
    RandomPatches,
    RegionAttention,
    RegStage,
    Resampler,
    TokenMerging,
)

LLM_LINEAR = Linear(dim=LLM, has_bias=True)
GELU = Activation(function="gelu")
MLP = (LLM_LINEAR, GELU, LLM_LINEAR)
BARE = Linear(dim=LLM, has_bias=False)
LN6 = Norm(norm="layer", eps=1e-6)
BY_TWO = Merge(rows=2, cols=2, order="row_col_channel", is_transposed=False, odd="error")

PUBLISHED: dict[str, tuple[BlockSpec, ...]] = {
    "linear": (LLM_LINEAR,),
    "mlp": MLP,
    "concat_mlp": (LN6, BY_TWO, Linear(dim=IN, has_bias=True), GELU, LLM_LINEAR),  # Qwen2-VL
    "concat_strip": (Norm(norm="layer", eps=1e-5), Merge(rows=1, cols=4, odd="error"), LLM_LINEAR),  # MiniGPT-v2
    "pool": (*MLP, Pool(factor=2, mode="average", odd="error")),
    "pixel_shuffle": (BY_TWO, Norm(norm="layer", eps=1e-5), *MLP),  # InternVL 1.5
    "ldp": (*MLP, InvertedResidual(stride=1, eps=1e-5), InvertedResidual(stride=2, eps=1e-5)),
    "ldpv2": (*MLP, AdaptivePool(rows=12, cols=12, frames=0), PEG()),
    "perceiver": (  # Flamingo
        Perceiver(
            num_latents=64,
            depth=6,
            num_heads=8,
            head_dim=64,
            kv_group=1,
            has_bias=False,
            has_qk_norm=False,
            norm="layer",
            eps=1e-5,
            residual="raw",
            feed_forward_dim=IN * 4,
            function="gelu",
            gate="none",
            has_last_norm=True,
        ),
        LLM_LINEAR,
    ),
    "qwen_vl_resampler": (
        BARE,
        LN6,
        Resampler(query_grid=(16, 16), head_dim=128, eps=1e-6, has_query_positions=True, key_positions="resized"),
        LN6,
        BARE,
    ),
    "minicpm_resampler": (  # MiniCPM-Llama3-V 2.5
        BARE,
        LN6,
        Resampler(query_grid=(1, 96), head_dim=128, eps=1e-6, has_query_positions=False, key_positions="computed"),
        LN6,
        BARE,
    ),
    "qformer": (  # BLIP-2 in LAVIS
        Norm(norm="layer", eps=1e-5),
        QFormer(
            num_queries=32,
            hidden_dim=768,
            num_layers=12,
            num_heads=12,
            cross_attention_freq=2,
            feed_forward_dim=3072,
            eps=1e-12,
        ),
        LLM_LINEAR,
    ),
    "c_abstractor": (
        GridPositions(rows=24, cols=24, other_grid="error"),
        RegStage(dim=1024, depth=3, eps=1e-5),
        AdaptivePool(rows=12, cols=12, frames=0),
        RegStage(dim=1024, depth=3, eps=1e-5),
        LLM_LINEAR,
        Activation(function="silu"),
        LLM_LINEAR,
    ),
    "d_abstractor": (
        FitWidth(dim=1024),
        GridPositions(rows=24, cols=24, other_grid="error"),
        DeformableDecoder(
            rows=12,
            cols=12,
            num_layers=6,
            num_heads=8,
            num_points=4,
            ffn_dim=1024,
            function="relu",
            pooled_v_target="query",
            point_rows=24,
            point_cols=24,
            eps=1e-5,
        ),
        FitWidth(dim=LLM),
    ),
    "token_packer": (
        RegionAttention(factor=2, dim=1024, num_heads=8, num_levels=4, extra_dim=0, eps=1e-6),
        *MLP,
    ),
    "tome": (TokenMerging(reduction=4, tokens_per_merge=8), *MLP),
    "divprune": (DiverseSelection(reduction=4), *MLP),
    "farthest_point": (FarthestPoint(reduction=4), *MLP),
    "prumerge": (AttendedMerging(reduction=4), *MLP),
    "random_patches": (RandomPatches(reduction=4, seed=0), *MLP),
    "every_kth": (EveryKth(reduction=4), *MLP),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_method_s_defaults_are_the_published_ones(name: str) -> None:
    assert method(name).blocks == PUBLISHED[name]
