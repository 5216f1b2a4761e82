"""Towers that take patches: SigLIP 2 NaFlex, and Qwen-VL, whose features arrive block by block."""

from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

from encoders import tiny
from opticnerve.encoders import load_encoder, sketch_encoder
from opticnerve.grid import Grid


@pytest.mark.parametrize(("height", "width"), [(28, 28), (42, 21), (14, 49)])
def test_naflex_features_are_those_of_its_own_preprocessing(tmp_path: Path, height: int, width: int) -> None:
    model = tiny.randomise(tiny.naflex())
    encoder = load_encoder(tiny.save(model, tmp_path))
    pixels = tiny.pixels(height, width)
    patches = torch.stack([torch.from_numpy(convert_image_to_patches(image.numpy(), 7)) for image in pixels])
    grid = Grid(height // 7, width // 7)
    with torch.no_grad():
        wanted = model(patches, torch.ones(2, grid.size), torch.tensor([[grid.rows, grid.cols]] * 2)).last_hidden_state
    assert encoder.grid(height, width) == grid
    assert encoder.native_px == (28, 28)
    torch.testing.assert_close(encoder(pixels), wanted, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def qwens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    root = tmp_path_factory.mktemp("qwens")
    models = {name: tiny.randomise(build()) for name, build in tiny.QWENS.items()}
    return {name: (tiny.save(model, root / name), model.model.visual) for name, model in models.items()}


def processed(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Let transformers' own processor cut the patches; it neither resizes nor normalises."""
    processor = Qwen2VLImageProcessorPil(
        patch_size=7, temporal_patch_size=2, merge_size=2, do_resize=False, do_rescale=False, do_normalize=False
    )
    batch = processor([image.numpy() for image in pixels], do_convert_rgb=False, return_tensors="pt")
    return batch["pixel_values"], batch["image_grid_thw"]


@pytest.mark.parametrize("name", tiny.QWENS)
@pytest.mark.parametrize(("height", "width"), [(28, 28), (42, 84), (84, 14)])
def test_merging_raster_features_equals_merging_inside_the_tower(
    qwens: Any, name: str, height: int, width: int
) -> None:
    folder, tower = qwens[name]
    encoder = load_encoder(folder)
    pixels = tiny.pixels(height, width)
    patches, shapes = processed(pixels)
    grid = encoder.grid(height, width)
    with torch.no_grad():
        wanted = tower(patches, grid_thw=shapes).pooler_output
        features = encoder(pixels)
        blocks = rearrange(features, "b (r row k col) d -> (b r k row col) d", r=grid.rows // 2, row=2, col=2)
        merged = tower.merger(blocks)
    assert features.shape == (2, grid.size, 16)
    torch.testing.assert_close(merged, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", tiny.QWENS)
def test_block_ordered_levels_are_the_hidden_states_of_each_layer(qwens: Any, name: str) -> None:
    folder, _ = qwens[name]
    pixels = tiny.pixels(42, 56)
    both = load_encoder(folder, layers=(1, -1))(pixels)
    assert torch.equal(both[..., 16:], load_encoder(folder)(pixels))
    torch.testing.assert_close(both[..., :16], load_encoder(folder, layers=(1,))(pixels), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", tiny.QWENS)
def test_layer_zero_of_a_block_ordered_tower_sees_only_its_own_patch(qwens: Any, name: str) -> None:
    encoder = load_encoder(qwens[name][0], layers=(0,))
    pixels = tiny.pixels(42, 56, batch=1)
    changed = pixels.clone()
    changed[..., 14:21, 35:42] += 1.0
    difference = (encoder(changed) - encoder(pixels)).abs().sum(-1).flatten()
    assert difference.nonzero().flatten().tolist() == [2 * 8 + 5]


@pytest.mark.parametrize("name", tiny.QWENS)
def test_a_qwen_tower_has_costs_without_weights(qwens: Any, name: str) -> None:
    folder, _ = qwens[name]
    assert sketch_encoder(folder).flops(28, 56) == load_encoder(folder).flops(28, 56) > 0
    assert sketch_encoder(folder).info.step_px == 14
