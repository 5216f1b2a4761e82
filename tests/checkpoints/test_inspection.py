"""What an inspection says of images: tokens as the model's own processor would make them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from opticnerve import inspect_checkpoint

SHAPES = {
    "ln_q.weight": (16,),
    "ln_q.bias": (16,),
    "mlp.0.weight": (64, 64),
    "mlp.0.bias": (64,),
    "mlp.2.weight": (24, 64),
    "mlp.2.bias": (24,),
}


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    config = {
        "model_type": "qwen2_vl",
        "vision_config": {"embed_dim": 16, "hidden_size": 24, "spatial_merge_size": 2, "patch_size": 14},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {f"visual.merger.{name}": torch.zeros(shape) for name, shape in SHAPES.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path


def test_tokens_of_an_image_follow_its_size(qwen: Path) -> None:
    found = inspect_checkpoint(qwen)
    assert found.num_tokens(448, 448) == 16 * 16
    assert found.num_tokens(896, 1344) == 29 * 43  # 32 x 48 would be more than 1280, the most that the release allows
    assert found.tokens_per_tile is None


@pytest.mark.parametrize(
    "settings",
    [
        {"max_pixels": 448 * 448},
        {"size": {"longest_edge": 448 * 448, "shortest_edge": 784}},
        {"image_processor": {"max_pixels": 448 * 448}},
    ],
)
@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_limits_of_the_processor_count(qwen: Path, name: str, settings: dict[str, object]) -> None:
    (qwen / name).write_text(json.dumps(settings))
    found = inspect_checkpoint(qwen)
    assert found.num_tokens(2240, 2240) == 16 * 16
