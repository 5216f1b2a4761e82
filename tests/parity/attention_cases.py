"""From a golden config to a connector: resamplers and Q-Former."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from typing_extensions import override

from opticnerve import ConnectorSpec, Grid, methods
from parity.golden import Case
from parity.sequential_cases import Adapter


def qwen_vl_resampler(case: Case) -> dict[str, Tensor]:
    config = case.config
    side = config["query_grid"]
    assert config.get("num_queries", side**2) == side**2
    spec = methods.qwen_vl_resampler(
        query_grid=(side, side),
        head_dim=config["embed_dim"] // config["num_heads"],
        eps=config["ln_eps"],
        has_kv_proj="attn_pool.kv_proj.weight" in case.weights,
    )
    return resample(case, spec, layout="qwen_vl", grids=[Grid(*case.grid_of())])


def omnilmm_resampler(case: Case) -> dict[str, Tensor]:
    spec = minicpm_spec(case, has_query_positions=True, key_positions="resized")
    return resample(case, spec, layout="minicpm_v", grids=[Grid(*case.grid_of())])


def minicpmv2_resampler(case: Case) -> dict[str, Tensor]:
    key_positions = "computed" if case.config["adaptive"] else "resized"
    spec = minicpm_spec(case, has_query_positions=True, key_positions=key_positions)
    return resample(case, spec, layout="minicpm_v", grids=[Grid(*case.grid_of("tgt_size"))])


def minicpmv26_resampler(case: Case) -> dict[str, Tensor]:
    spec = minicpm_spec(case, has_query_positions=False, key_positions="computed")
    grids = [Grid(rows, cols) for rows, cols in case.tensors["tgt_sizes"].tolist()]
    return resample(case, spec, layout="minicpm_v", grids=grids)


def minicpm_spec(case: Case, **positions: Any) -> ConnectorSpec:
    return methods.minicpm_resampler(
        num_queries=len(case.weights["query"]),
        head_dim=case.config["embed_dim"] // case.config["num_heads"],
        eps=case.config["ln_eps"],
        has_kv_proj="kv_proj.weight" in case.weights,
        **positions,
    )


def resample(case: Case, spec: ConnectorSpec, *, layout: str, grids: list[Grid]) -> dict[str, Tensor]:
    """Run a resampler on images that are padded to the longest; one grid stands for the whole batch."""
    features, embed_dim = case.tensors["input"], case.config["embed_dim"]
    grids = grids * len(features) if len(grids) == 1 else grids
    connector = case.connector(spec, layout=layout, vision_dim=case.config["vision_dim"], llm_dim=embed_dim)
    return {"output": packed(connector, [row[: grid.size] for row, grid in zip(features, grids, strict=True)], grids)}


def packed(connector: Any, rows: list[Tensor], grids: list[Grid]) -> Tensor:
    """Run a connector on images of several sizes whose tokens are as many."""
    tokens, places = connector.packed(torch.cat(rows), grids)
    return tokens.unflatten(0, (len(places), places[0].size))


def flamingo_perceiver(case: Case) -> dict[str, Tensor]:
    config, features = case.config, case.tensors["input"]
    batch, media, frames, patches, _ = features.shape
    spec = methods.perceiver(
        num_latents=config["num_latents"],
        depth=config["depth"],
        num_heads=config["heads"],
        head_dim=config["dim_head"],
        feed_forward_dim=config["ff_mult"] * config["dim"],
        max_frames=config["max_num_frames"] or 0,
        has_projection=False,
    )
    # the order of media is no part of a connector, which sees one image (or video) at a time
    order = case.weights.get("media_time_embs")
    case = WithoutMediaOrder(case.file, case.method, config)
    connector = case.connector(spec, layout="open_flamingo", vision_dim=config["dim"], llm_dim=config["dim"])
    if order is not None:
        features = features + order[:media, None]
    tokens = connector(rearrange(features, "b t f v d -> (b t) (f v) d"), Grid(1, patches, frames=frames))
    return {"output": rearrange(tokens, "(b t) n d -> b t n d", b=batch)}


@dataclass(frozen=True)
class WithoutMediaOrder(Case):
    """A case of Flamingo whose embeddings of the order of media are added to the features instead."""

    @property
    @override
    def weights(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in super().weights.items() if name != "media_time_embs"}


def idefics_perceiver(case: Case) -> dict[str, Tensor]:
    config = case.config
    spec = methods.perceiver(
        num_latents=config["n_latents"],
        depth=config["depth"],
        num_heads=config["n_heads"],
        head_dim=config["head_dim"],
        has_qk_norm=config["qk_layer_norms"],
        feed_forward_dim=len(case.weights["blocks.0.1.fc.weight"]),
        function="relu",
        has_projection=False,
    )
    connector = case.connector(spec, layout="idefics", vision_dim=config["dim"], llm_dim=config["dim"])
    return {"output": connector(case.tensors["input"], Grid(1, config["num_tokens"]))}


def idefics2_connector(case: Case) -> dict[str, Tensor]:
    config = case.config
    spec = methods.perceiver(
        input_projection="glu",
        input_hidden_dim=config["mlp_intermediate"],
        num_latents=config["n_latents"],
        depth=config["depth"],
        num_heads=config["n_heads"],
        head_dim=config["head_dim"],
        kv_group=config["n_heads"] // config["kv_heads"],
        norm="rms",
        eps=config.get("rms_norm_eps", 1e-6),
        function="silu",
        gate="plain",
        has_projection=False,
    )
    connector = case.connector(spec, layout="idefics2", vision_dim=config["vision_dim"], llm_dim=config["llm_dim"])
    mask = case.tensors["attention_mask"].bool()  # padding is left out instead of masked
    rows = [row[kept] for row, kept in zip(case.tensors["input"], mask, strict=True)]
    return {"output": packed(connector, rows, [Grid(1, len(row)) for row in rows])}


def honeybee_resampler(case: Case) -> dict[str, Tensor]:
    config = case.config
    grid = Grid(1, config["num_tokens"])
    spec = methods.perceiver(
        has_position=config["pos_emb"],
        pos_grid=(grid.rows, grid.cols),
        input_projection="linear",
        input_dim=config["hidden_size"],
        num_latents=config["num_query_tokens"],
        depth=config["layers"],
        num_heads=config["heads"],
        head_dim=config["hidden_size"] // config["heads"],
        has_bias=True,
        eps=config["norm_eps"],
        residual="normed",
        feed_forward_dim=config["intermediate_size"],
        function="silu",
        gate="normed",
        gate_eps=config["ffn_ln_eps"],
        has_last_norm=False,
        num_eos_tokens=config["num_eos_tokens"] or 0,
    )
    dims = {"vision_dim": config["vision_dim"], "llm_dim": config["llm_dim"]}
    connector = case.connector(spec, layout="honeybee_resampler", **dims)
    return {"output": connector(case.tensors["input"], grid)}


def blip2_qformer(case: Case) -> dict[str, Tensor]:
    config = case.config
    assert config["hidden_act"] == "gelu"
    spec = methods.qformer(
        num_queries=config["num_queries"],
        hidden_dim=config["hidden_size"],
        num_layers=config["num_layers"],
        num_heads=config["num_heads"],
        cross_attention_freq=config["cross_attention_freq"],
        feed_forward_dim=config["intermediate_size"],
        eps=config["layer_norm_eps"],
        has_vision_norm="ln_vision_eps" in config,
        vision_eps=config.get("ln_vision_eps", 1e-5),
    )
    layouts = {"language_projection": "blip_2", "opt_proj": "blip2_opt", "t5_proj": "blip2_t5"}
    (layout,) = (layout for name, layout in layouts.items() if f"{name}.weight" in case.weights)
    connector = case.connector(spec, layout=layout, vision_dim=config["vision_dim"], llm_dim=config["llm_dim"])
    return {"output": connector(case.tensors["input"], Grid(1, config["num_tokens"]))}


ADAPTERS: Mapping[str, Adapter] = {
    "blip2_qformer_hf": blip2_qformer,
    "blip2_qformer_lavis": blip2_qformer,
    "flamingo_perceiver": flamingo_perceiver,
    "honeybee_resampler": honeybee_resampler,
    "idefics2_connector": idefics2_connector,
    "idefics_perceiver": idefics_perceiver,
    "minicpmv26_resampler": minicpmv26_resampler,
    "minicpmv2_resampler": minicpmv2_resampler,
    "omnilmm_resampler": omnilmm_resampler,
    "qwen_vl_resampler": qwen_vl_resampler,
}
