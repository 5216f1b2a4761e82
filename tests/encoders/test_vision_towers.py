"""Every family: the grid is known, the features are transformers' own, prefixes and layers are what was asked for."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from encoders import tiny
from opticnerve.encoders import load_encoder, sketch_encoder
from opticnerve.errors import EncoderError
from opticnerve.grid import Grid


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    root = tmp_path_factory.mktemp("towers")
    models = {name: tiny.randomise(build()) for name, build in tiny.TOWERS.items()}
    return {name: (tiny.save(model, root / name), model) for name, model in models.items()}


def hf_states(model: Any, pixels: torch.Tensor) -> Any:
    with torch.no_grad():
        if "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
            return model(pixel_values=pixels, output_hidden_states=True, interpolate_pos_encoding=True)
        return model(pixel_values=pixels, output_hidden_states=True)


def test_a_native_size_that_is_no_multiple_of_the_patch_is_taken_as_published(tmp_path: Path) -> None:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model: Any = tiny.randomise(SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=38, patch_size=7)))
    encoder = load_encoder(tiny.save(model, tmp_path / "siglip"))
    pixels = tiny.pixels(38, 38)
    assert encoder.grid(38, 38) == Grid(5, 5), "as SigLIP so400m: 384 px, patches of 14"
    assert sketch_encoder(tmp_path / "siglip").flops(38, 38) == encoder.flops(35, 35)
    with torch.no_grad():
        wanted = model(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(encoder(pixels), wanted, rtol=0, atol=0)
    with pytest.raises(EncoderError, match=r"cannot take an image of 76 x 76 px: both sides must be multiples of 7 px"):
        encoder.grid(76, 76)


SIDES = [(28, 28), (42, 42), (35, 14), (14, 49), (7, 7)]


@pytest.mark.parametrize("name", tiny.TOWERS)
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_the_finished_output_is_last_hidden_state_and_as_long_as_the_grid_says(
    checkpoints: Any, name: str, height: int, width: int
) -> None:
    folder, model = checkpoints[name]
    encoder = load_encoder(folder, prefix="keep")
    pixels = tiny.pixels(height, width)
    features = encoder(pixels)
    grid = encoder.grid(height, width)
    assert grid == Grid(height // 7, width // 7, prefix=tiny.PREFIX[name])
    assert features.shape == (2, grid.size, encoder.dim)
    torch.testing.assert_close(features, hf_states(model, pixels).last_hidden_state, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", tiny.TOWERS)
@pytest.mark.parametrize("layers", [(-1,), (-2,), (0,), (3,), (1, -1), (2, 0, 1)])
def test_chosen_layers_are_the_hidden_states_joined_on_the_channels(
    checkpoints: Any, name: str, layers: tuple[int, ...]
) -> None:
    folder, model = checkpoints[name]
    pixels = tiny.pixels(28, 42)
    encoder = load_encoder(folder, layers=layers)
    states = hf_states(model, pixels).hidden_states
    wanted = torch.cat([states[index][:, tiny.PREFIX[name] :] for index in layers], dim=-1)
    assert encoder.dim == 16 * len(layers)
    assert encoder.grid(28, 42) == Grid(4, 6)
    torch.testing.assert_close(encoder(pixels), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", tiny.TOWERS)
def test_dropping_the_prefix_drops_the_first_tokens_only(checkpoints: Any, name: str) -> None:
    folder, _ = checkpoints[name]
    kept, dropped = load_encoder(folder, prefix="keep"), load_encoder(folder)
    pixels = tiny.pixels(28, 28)
    assert dropped.grid(28, 28).prefix == 0
    assert torch.equal(kept(pixels)[:, tiny.PREFIX[name] :], dropped(pixels))


@pytest.mark.parametrize("name", tiny.TOWERS)
def test_layers_after_the_last_one_needed_are_gone_and_cost_nothing(checkpoints: Any, name: str) -> None:
    folder, _ = checkpoints[name]
    by_depth = [load_encoder(folder, layers=(depth,)).flops(28, 28) for depth in (1, 2, 3)]
    assert by_depth[1] - by_depth[0] == by_depth[2] - by_depth[1] > 0
    count = {depth: sum(p.numel() for p in load_encoder(folder, layers=(depth,)).parameters()) for depth in (1, 2, 3)}
    assert count[2] - count[1] == count[3] - count[2] > 0


@pytest.mark.parametrize("name", tiny.TOWERS)
@pytest.mark.parametrize("layers", ["last", (-2,), (1, 3)])
def test_every_weight_that_is_left_takes_part(checkpoints: Any, name: str, layers: Any) -> None:
    folder, _ = checkpoints[name]
    encoder = load_encoder(folder, layers=layers, prefix="keep")
    encoder(tiny.pixels(28, 28)).square().sum().backward()
    idle = [key for key, weight in encoder.named_parameters() if weight.grad is None]
    # CLIP's final norm belongs to its pooled token, and mask tokens to pre-training.
    assert [key for key in idle if "mask_token" not in key and "post_layernorm" not in key] == []


@pytest.mark.parametrize("name", tiny.TOWERS)
def test_a_sketch_knows_what_the_encoder_knows_without_weights(checkpoints: Any, name: str) -> None:
    folder, _ = checkpoints[name]
    encoder = load_encoder(folder, layers=(-2,), prefix="keep")
    sketch = sketch_encoder(folder, layers=(-2,), prefix="keep")
    assert sketch.info == encoder.info
    assert sketch.flops(35, 49) == encoder.flops(35, 49)
    assert {parameter.device.type for parameter in sketch.parameters()} == {"meta"}


def test_flops_are_those_of_a_vision_transformer(checkpoints: Any) -> None:
    folder, _ = checkpoints["siglip"]
    encoder = load_encoder(folder)
    for height, width in ((28, 28), (42, 35)):
        n, dim, hidden = encoder.grid(height, width).size, 16, 32
        layer = 4 * n * dim * dim + 2 * n * dim * hidden + 2 * n * n * dim
        assert encoder.flops(height, width) == 2 * (n * 3 * 7 * 7 * dim + 3 * layer)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_pixels_are_brought_to_the_dtype_of_the_weights(checkpoints: Any, dtype: torch.dtype) -> None:
    encoder = load_encoder(checkpoints["siglip"][0], dtype=dtype)
    images = torch.randint(0, 256, (1, 3, 28, 28), dtype=torch.uint8)
    assert encoder.normalise(images).dtype == torch.float32
    assert encoder(encoder.normalise(images)).dtype == dtype


def test_a_vision_tower_encodes_each_image_by_itself(checkpoints: Any) -> None:
    encoder = load_encoder(checkpoints["dinov2"][0])
    pixels = tiny.pixels(21, 35, batch=3)
    alone = torch.cat([encoder(pixels[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(encoder(pixels), alone, rtol=0, atol=1e-6)
