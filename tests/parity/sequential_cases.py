"""From a golden config to a connector: Linears, merges and pools."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from opticnerve import LLM, VISION, Grid, methods
from opticnerve.checkpoints import load_published
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import Downsample, Pool
from opticnerve.encoders import raster_from_blocks
from parity.golden import Case

Adapter = Callable[[Case], dict[str, Tensor]]


def dense(case: Case, spec: ConnectorSpec, *, layout: str, grid: Grid) -> dict[str, Tensor]:
    config, want = case.config, case.outputs["output"]
    vision_dim = config.get("vision_dim", config.get("dim"))
    connector = case.connector(spec, layout=layout, vision_dim=vision_dim, llm_dim=want.shape[-1])
    features = case.tensors["input"].flatten(1, -2)  # recorded as tokens, or as a map
    features = features[:, -grid.size :]  # a CLS token in front, where the reference drops one
    tokens = connector(features, grid)
    return {"output": tokens.reshape(want.shape) if want.ndim == 4 else tokens}


def llava_mlp(case: Case) -> dict[str, Tensor]:
    kind = case.config["mm_projector_type"]
    depth = kind.removeprefix("mlp").removesuffix("x_gelu")
    spec = methods.linear() if kind == "linear" else methods.mlp(depth=int(depth))
    return dense(case, spec, layout="llava_mlp", grid=Grid(1, case.config["num_tokens"]))


def internvl(case: Case) -> dict[str, Tensor]:
    version = case.config.get("ps_version", "v2")
    spec = methods.pixel_shuffle(factor=round(1 / case.config["scale_factor"]), version=version)
    layout = "internvl" if "linear_1.weight" in case.weights else "internvl_chat"
    return dense(case, spec, layout=layout, grid=Grid(*case.grid_of()))


def llama4(case: Case) -> dict[str, Tensor]:
    """The adapter was recorded alone: the Linear after it changes nothing here, and may be left out."""
    dim, grid = case.config["projector_dim"], Grid(*case.grid_of())
    factor = round(1 / case.config["pixel_shuffle_ratio"])
    spec = methods.pixel_shuffle(factor=factor, has_norm=False, hidden=(LLM, LLM), has_bias=False)
    connector = spec.build(vision_dim=case.config["vision_dim"], llm_dim=dim).eval()
    weights = {f"vision_model.vision_adapter.{name}": tensor for name, tensor in case.weights.items()}
    weights["multi_modal_projector.linear_1.weight"] = torch.eye(dim)
    load_published(connector, weights, layout="llama4")
    features = case.tensors["input"][:, -grid.size :]
    alone = methods.pixel_shuffle(
        factor=factor, has_norm=False, hidden=(LLM,), has_bias=False, has_last_activation=True
    )
    inner = alone.build(vision_dim=connector.vision_dim, llm_dim=dim).eval()
    inner.load_state_dict({name: connector.state_dict()[name] for name in inner.state_dict()})
    assert torch.equal(inner(features, grid), connector(features, grid))
    return {"output": inner(features, grid)}


def merge_linear(layout: str) -> Adapter:
    def run(case: Case) -> dict[str, Tensor]:
        factor = case.config["scale_factor"]
        spec = methods.pixel_shuffle(factor=factor, has_norm=False, hidden=(), has_bias=False)
        return dense(case, spec, layout=layout, grid=Grid(*case.grid_of()))

    return run


def qwen_merger(case: Case) -> dict[str, Tensor]:
    config, weights = case.config, case.weights
    factor = config["spatial_merge_size"]
    norm = "layer" if "ln_q.bias" in weights else "rms"
    spec = methods.concat_mlp(factor=factor, norm=norm, eps=config.get("ln_eps", 1e-6))
    connector = case.connector(spec, layout="qwen2_vl", vision_dim=config["vision_dim"], llm_dim=config["llm_dim"])
    grids = [Grid(rows, cols, frames=frames) for frames, rows, cols in config["grid_thw"]]
    pieces = case.tensors["input"].split([grid.size for grid in grids])
    raster = [
        raster_from_blocks(piece[None], grid, factor=factor)[0] for piece, grid in zip(pieces, grids, strict=True)
    ]
    return {"output": connector.packed(torch.cat(raster), grids)[0]}


def vila(case: Case) -> dict[str, Tensor]:
    kind = case.config.get("mm_projector_type", case.config.get("mm_projector", "mlp_downsample"))
    return dense(case, vila_spec(kind), layout="vila", grid=Grid(*case.grid_of()))


def vila_spec(kind: str) -> ConnectorSpec:
    """VILA's projector by the name in its config."""
    funnels = {
        "3x3_fix": (VISION * 3, LLM),
        "3x3_s2": (VISION * 3, VISION, VISION // 3, LLM),
        "3x3_s2_new": (VISION * 4, VISION * 2, VISION, VISION // 3, LLM),
    }
    if kind.endswith("x_gelu"):
        return methods.mlp(depth=int(kind.removeprefix("mlp").removesuffix("x_gelu")))
    name = kind.removeprefix("mlp_downsample").removeprefix("_")
    if name in funnels:
        return methods.concat_mlp(factor=3, norm_place="every", eps=1e-5, hidden=funnels[name], odd="pad")
    assert name in {"", "2x2_fix"}, kind
    return methods.concat_mlp(factor=2, norm_place="merged", eps=1e-5, hidden=(LLM,), odd="pad")


def minigpt_v2(case: Case) -> dict[str, Tensor]:
    spec = methods.concat_strip(
        length=case.config["num_patches"] // case.config["out_tokens"], eps=case.config["ln_eps"]
    )
    return dense(case, spec, layout="minigpt_v2", grid=Grid(1, case.config["num_patches"]))


def gemma3(case: Case) -> dict[str, Tensor]:
    config = case.config
    spec = methods.pool(
        factor=config["kernel_size"],
        place="before",
        norm="rms_one_plus",
        eps=config["rms_eps"],
        hidden=(),
        has_bias=False,
        odd="drop",
    )
    return dense(case, spec, layout="gemma3", grid=Grid(*case.grid_of()))


def get_2d_pool(case: Case) -> dict[str, Tensor]:
    pool = Pool(factor=case.config["stride"], mode=case.config["mode"], odd="drop")
    spec = ConnectorSpec(name="get_2dPool", blocks=(pool,))
    return dense(case, spec, layout="llava_spatial_pool", grid=Grid(*case.grid_of()))


def spatial_pool(case: Case) -> dict[str, Tensor]:
    factor, mode = case.config["stride"], case.config["mode"]
    block = Downsample(factor=factor, odd="drop") if mode == "conv" else Pool(factor=factor, mode=mode, odd="drop")
    spec = ConnectorSpec(name="SpatialPool", blocks=(block,))
    return dense(case, spec, layout="llava_spatial_pool", grid=Grid(*case.grid_of()))


def pooler_projector(case: Case) -> dict[str, Tensor]:
    spec = methods.pool(mode="conv", place="before", hidden=(), odd="drop")
    return dense(case, spec, layout="llava_pooler", grid=Grid(*case.grid_of()))


def pllava(case: Case) -> dict[str, Tensor]:
    config = case.config
    frames, rows, cols = config["pooling_shape"]
    spec = methods.pool(mode="adaptive", out_grid=(rows, cols), out_frames=frames)
    connector = case.connector(spec, layout="pllava", vision_dim=config["vision_dim"], llm_dim=config["llm_dim"])
    features, patch_rows, patch_cols = case.tensors["input"], *config["frame_shape"]
    num_frames = config["num_frames"]
    if config["media_type"] == "image":  # repeated over all frames before pooling; several images come in turns
        features = features.repeat(num_frames, 1, 1)
    if len(features) < num_frames:  # a short video: every frame is repeated, and the end cut off
        features = features.repeat_interleave(num_frames // len(features) + 1, dim=0)[:num_frames]
    features = features.reshape(-1, num_frames * patch_rows * patch_cols, features.shape[-1])
    return {"output": connector(features, Grid(patch_rows, patch_cols, frames=num_frames))}


ADAPTERS: Mapping[str, Adapter] = {
    "gemma3_projector": gemma3,
    "idefics3_connector": merge_linear("idefics3"),
    "internvl_hf": internvl,
    "internvl_pixel_shuffle": internvl,
    "llama4_pixel_shuffle_mlp": llama4,
    "llava_get_2dPool": get_2d_pool,
    "llava_mlp": llava_mlp,
    "llava_pooler_projector": pooler_projector,
    "llava_spatial_pool": spatial_pool,
    "minigpt_v2_concat": minigpt_v2,
    "nanovlm_modality_projector": merge_linear("nanovlm"),
    "pllava_projector": pllava,
    "qwen2_5_vl_patch_merger": qwen_merger,
    "qwen2_vl_patch_merger": qwen_merger,
    "vila_mlp_downsample": vila,
}
