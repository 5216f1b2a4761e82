"""S2 and dynamic S2 give the numbers of the reference implementations, on every case of the golden folder."""

from typing import Any

import pytest
import torch

from opticnerve.grid import Grid
from opticnerve.multiscale import DynamicS2, dynamic_tile_grids
from parity import s2_cases
from parity.golden import Case, assert_close, tensor_cases
from parity.sequential_cases import vila_spec

S2 = [case for case in tensor_cases() if case.method == "s2wrapper"]
DYNAMIC = [case for case in tensor_cases() if case.method == "vila_dynamic_s2"]


@pytest.mark.parametrize("case", S2, ids=lambda case: case.file.removesuffix(".safetensors"))
@torch.no_grad()
def test_s2_gives_the_reference_output(case: Case) -> None:
    config = case.config["model"]
    model = s2_cases.TinyEncoder(
        case.weights, patch=config["patch"], num_prefix=config["num_prefix"], bchw=config["bchw"]
    )
    assert_close(s2_cases.run(model, case.tensors["input"], case.config["forward_kwargs"]), case.outputs["output"])


@pytest.mark.parametrize("case", DYNAMIC, ids=lambda case: case.file.removesuffix(".safetensors"))
@torch.no_grad()
def test_dynamic_s2_gives_the_reference_output(case: Case) -> None:
    config, tensors = case.config, case.tensors
    scales = config["s2_scales"]
    spec = DynamicS2(num_scales=len(scales), resize_to=config["resize_output_to_scale_idx"])
    images = [
        ((1, 1),) if size is None else dynamic_tile_grids(scales, rows=size[0], cols=size[1])
        for size in config["block_sizes"]
    ]
    tile = _grid(config["tile_grid"])
    assert [list(spec.out_tiles(tiles)) for tiles in images] == config["new_block_sizes"]

    maps = spec.merge(tensors["input"], images=images, tile=tile)
    for index, merged in enumerate(maps):
        if f"intermediate.merged.{index}" in tensors:
            assert_close(merged, tensors[f"intermediate.merged.{index}"])

    connector = case.connector(
        vila_spec(config.get("mm_projector_type", config.get("mm_projector", "mlp_downsample"))),
        layout="vila",
        vision_dim=spec.out_dim(config["vision_dim"]),
        llm_dim=config["llm_dim"],
    )
    projected = connector.spec.out_grid(tile)
    assert isinstance(projected, Grid)
    tokens = spec.project(maps, lambda features: connector(features, tile), images=images, tile=projected)
    assert len(tokens) == len(case.outputs)
    for index, (own, tiles) in enumerate(zip(tokens, images, strict=True)):
        assert own.shape[0] == spec.out_grid(tiles, tile=projected).size
        assert_close(own, case.outputs[f"output.{index}"])


def _grid(value: Any) -> Grid:
    return Grid(value, value) if isinstance(value, int) else Grid(*value)
