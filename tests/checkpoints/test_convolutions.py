"""What the layouts with convolutions say of published models, without any weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from opticnerve import Grid
from opticnerve.checkpoints import inspect_checkpoint
from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layouts import LAYOUTS
from opticnerve.connectors.blocks import Linear, Merge, MergeFrames


@pytest.mark.parametrize(
    ("name", "grid", "num_tokens", "vision_dim", "llm_dim"),
    [
        ("glm4v", Grid(24, 32), 192, 1536, 4096),
        ("glm_ocr", Grid(24, 32), 192, 1024, 1536),
        ("glm5_next", Grid(24, 32), 192, 1024, 1536),
        ("hunyuan_vl", Grid(32, 64), 16 * (32 + 1) + 2, 1152, 4096),
        ("got_ocr2", Grid(64, 64), 256, 256, 1024),
        ("pp_chart2table", Grid(64, 64), 256, 256, 1024),
        ("pp_formulanet", Grid(48, 48), 144, 256, 512),
        ("step3p7", Grid(52, 52), 169, 1536, 4096),
        ("deepseek_ocr2_compressor", Grid(64, 64), 256, 768, 896),
        ("unlimited_ocr_compressor", Grid(40, 40), 100, 768, 1024),
        ("unlimited_ocr", Grid(16, 16), 256, 2048, 1280),
        ("inkling", Grid(32, 48), 24, 75, 6144),
    ],
)
def test_default_configs_give_the_connectors_of_the_models(
    name: str, grid: Grid, num_tokens: int, vision_dim: int, llm_dim: int
) -> None:
    reading = LAYOUTS[name].published()
    assert (reading.vision_dim, reading.llm_dim) == (vision_dim, llm_dim)
    assert reading.spec.num_tokens(grid) == num_tokens
    assert reading.spec.out_dim(vision_dim=vision_dim, llm_dim=llm_dim) == llm_dim


PLANS = {
    1: ([], [40]),
    3: ([128, 1216], [5, 4, 2]),
    4: ([128, 320, 4800], [5, 2, 4]),
    5: ([128, 320, 1216, 4800], [5, 2, 2, 2]),
}
"""Layers: widths after all but the last, and pixels a side that the layers fold, where they fold any; as transformers'
plan_out_scales(2, 40, layers, 3) has them."""


@pytest.mark.parametrize("layers", PLANS)
def test_inkling_folds_as_published_for_any_number_of_layers(layers: int) -> None:
    widths, folds = PLANS[layers]
    vision = {
        "patch_size": 40,
        "temporal_patch_size": 2,
        "num_channels": 3,
        "num_hidden_layers": layers,
        "text_hidden_size": 64,
    }
    reading = LAYOUTS["inkling"].read(Config({"vision_config": vision}), {})
    blocks = reading.spec.blocks
    assert reading.vision_dim == 3 * folds[0] ** 2
    assert [block.rows for block in blocks if isinstance(block, Merge)] == folds[1:]
    assert [block.frames for block in blocks if isinstance(block, MergeFrames)] == [2]
    resolved = reading.spec.resolve(vision_dim=reading.vision_dim, llm_dim=64).blocks
    assert [block.dim for block in resolved if isinstance(block, Linear)] == [*widths, 64]


def test_of_two_connectors_the_last_is_meant_and_the_other_is_named(tmp_path: Path) -> None:
    shapes = {
        "projector.layers.weight": (1280, 4096),
        "projector.layers.bias": (1280,),
        "sam_model.neck.0.weight": (256, 768, 1, 1),
        "sam_model.neck.1.weight": (256,),
        "sam_model.neck.1.bias": (256,),
        "sam_model.neck.2.weight": (256, 256, 3, 3),
        "sam_model.neck.3.weight": (256,),
        "sam_model.neck.3.bias": (256,),
        "sam_model.net_2.weight": (512, 256, 3, 3),
        "sam_model.net_3.weight": (896, 512, 3, 3),
    }
    save_file({f"model.{name}": torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "model.safetensors")
    config = {"model_type": "deepseek_ocr2", "text_config": {"hidden_size": 1280, "num_attention_heads": 10}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = inspect_checkpoint(tmp_path)
    assert (found.layout.name, found.parts) == ("deepseek_ocr2", ("deepseek_ocr2_compressor",))
    assert inspect_checkpoint(tmp_path, layout="deepseek_ocr2_compressor").layout.name == "deepseek_ocr2_compressor"
