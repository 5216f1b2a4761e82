"""From a golden config to a connector: the convolutional and spatial family."""

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt

import torch
from torch import Tensor

from opticnerve import Grid, methods
from opticnerve.connectors.blocks import RegionAttention
from parity.golden import Case
from parity.sequential_cases import Adapter, dense


def ldpv1(case: Case) -> dict[str, Tensor]:
    return dense(case, methods.ldp(), layout="mobilevlm_v1", grid=Grid(*case.grid_of()))


def ldpv2(case: Case) -> dict[str, Tensor]:
    out_grid = case.grid_of("out_grid") if "out_grid" in case.config else (12, 12)
    spec = methods.ldpv2(out_grid=out_grid)
    return dense(case, spec, layout="mobilevlm_v2", grid=Grid(*case.grid_of()))


def c_abstractor(case: Case) -> dict[str, Tensor]:
    config = case.config
    spec = methods.c_abstractor(
        out_grid=square(config["num_query_tokens"]),
        hidden_dim=config["hidden_size"],
        depth=config["depth"],
        mlp_depth=config.get("mlp_depth", 2),
        has_norm=config.get("prenorm", False),
        has_position=config["pos_emb"],
        pos_grid=case.grid_of(),
        num_eos_tokens=config.get("num_eos_tokens") or 0,
    )
    return dense(case, spec, layout="honeybee_c_abs", grid=Grid(*case.grid_of()))


def d_abstractor(case: Case) -> dict[str, Tensor]:
    config = case.config
    spec = methods.d_abstractor(
        query_grid=square(config["num_queries"]),
        hidden_dim=config["d_model"],
        num_layers=config["decoder_layers"],
        num_heads=config["heads"],
        num_points=config.get("n_points", 4),
        ffn_dim=config["ffn"],
        function=config.get("activation", "relu"),
        pooled_v_target=config["pooled_v_target"],
        has_position=config["pos_emb"],
        pos_grid=case.grid_of(),
        num_eos_tokens=config.get("num_eos_tokens") or 0,
    )
    return dense(case, spec, layout="honeybee_d_abs", grid=Grid(*case.grid_of()))


def token_packer(case: Case) -> dict[str, Tensor]:
    config = case.config
    keys, points = config["multi_level_dim"], config["kv_dim"]
    spec = methods.token_packer(
        factor=config["scale_factor"],
        query="extra",
        num_levels=1 if keys % points else keys // points,
        attn_dim=config["embed_dim"],
        num_heads=config["num_heads"],
        eps=config.get("ln_eps", 1e-6),
    )
    pack, *mlp = spec.blocks
    assert isinstance(pack, RegionAttention)  # the recorded query level has a width of its own
    spec = replace(spec, blocks=(replace(pack, extra_dim=points), *mlp))
    connector = case.connector(spec, layout="token_packer", vision_dim=keys + points, llm_dim=config["llm_dim"])
    features = torch.cat([case.tensors["input_multi"], case.tensors["input"]], dim=-1)
    return {"output": connector(features, Grid(config["raw_grid"], config["raw_grid"]))}


def square(num: int) -> tuple[int, int]:
    """The reference knows square grids of queries only."""
    return isqrt(num), isqrt(num)


ADAPTERS: Mapping[str, Adapter] = {
    "honeybee_cabstractor": c_abstractor,
    "honeybee_dabstractor": d_abstractor,
    "mobilevlm_ldpv1": ldpv1,
    "mobilevlm_ldpv2": ldpv2,
    "tokenpacker": token_packer,
}
