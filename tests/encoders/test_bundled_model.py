"""The bundled encoder by itself: shapes, costs, and the proof that its weights read."""

import json
import random
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from opticnerve.encoders.bundled import (
    ALPHABET,
    MAX_WORD,
    BundledEncoderModel,
    BundledProbe,
    load_bundled,
    load_probe,
)
from opticnerve.errors import EncoderError, ImageError

SCRIPTS = Path(__file__).parents[2] / "scripts" / "bundled_encoder"
FOLDER = files("opticnerve.encoders.bundled")


@pytest.fixture(scope="module")
def shipped() -> BundledEncoderModel:
    return load_bundled()


@pytest.fixture(scope="module")
def measure() -> Iterator[ModuleType]:
    """The evaluation script; its folder and modules leave again, their names are common ones."""
    before = set(sys.modules)
    sys.path.insert(0, str(SCRIPTS))
    try:
        import measure

        yield measure
    finally:
        sys.path.remove(str(SCRIPTS))
        for name in set(sys.modules) - before:
            if str(SCRIPTS) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def small_model() -> BundledEncoderModel:
    torch.manual_seed(0)
    return BundledEncoderModel(dim=32, stem_dims=(8, 8, 16), num_layers=2, num_heads=2, mlp_dim=48)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (16, 16), (48, 160), (272, 32)])
def test_every_multiple_of_sixteen_gives_one_feature_a_patch(height: int, width: int) -> None:
    features = small_model()(torch.randn(2, 3, height, width))
    assert features.shape == (2, (height // 16) * (width // 16), 32)


def test_features_come_row_by_row(shipped: BundledEncoderModel) -> None:
    pixels = torch.zeros(1, 3, 96, 160)
    changed = pixels.clone()
    changed[:, :, 32:48, 112:128] = 2.0  # row 2, column 7 of a 6 x 10 grid
    with torch.no_grad():
        moved = (shipped(changed) - shipped(pixels)).norm(dim=-1)[0]
    assert moved.argmax().item() == 2 * 10 + 7


def test_images_of_a_batch_do_not_mix(shipped: BundledEncoderModel) -> None:
    pixels = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = shipped(pixels)
        alone = torch.cat([shipped(image[None]) for image in pixels])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_the_shipped_model_has_no_batch_statistics(shipped: BundledEncoderModel) -> None:
    assert not shipped.training
    assert not list(shipped.buffers())
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        evaluated = shipped(pixels)
        trained = load_bundled().train()(pixels)
    torch.testing.assert_close(trained, evaluated)


def test_every_parameter_and_the_pixels_receive_gradients() -> None:
    model = small_model()
    pixels = torch.randn(2, 3, 32, 48, requires_grad=True)
    model(pixels).square().mean().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
    dead = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert dead == []


def test_layers_are_joined_on_the_channels_in_the_order_named() -> None:
    model = small_model()
    pixels = torch.randn(2, 3, 32, 48)
    joined = model(pixels, layers=(1, -1, 0))
    assert joined.shape == (2, 6, 96)
    torch.testing.assert_close(joined[..., :32], model(pixels, layers=(1,)))
    torch.testing.assert_close(joined[..., 32:64], model(pixels))
    torch.testing.assert_close(model.norm(joined[..., :32]), joined[..., 32:64])


@pytest.mark.parametrize(("height", "width"), [(256, 256), (48, 160)])
def test_flops_equal_the_counted_ones(height: int, width: int) -> None:
    model = small_model()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.randn(1, 3, height, width))
    assert model.flops(height, width) == counter.get_total_flops()


def test_a_side_that_is_no_multiple_of_sixteen_is_refused(shipped: BundledEncoderModel) -> None:
    message = r"cannot cut an image of 250 x 256 px .* multiples of 16\. .* to 256 x 256 px"
    with pytest.raises(ImageError, match=message):
        shipped(torch.zeros(1, 3, 250, 256))
    with pytest.raises(ImageError, match=message):
        shipped.flops(250, 256)


@pytest.mark.parametrize("layers", [(4,), (-2,), ()])
def test_a_layer_that_does_not_exist_is_refused(shipped: BundledEncoderModel, layers: tuple[int, ...]) -> None:
    with pytest.raises(EncoderError, match=r"cannot return layers=.* blocks, 0 to 3, or -1"):
        shipped(torch.zeros(1, 3, 32, 32), layers=layers)


def test_the_shipped_files_are_small() -> None:
    sizes = {name: len(FOLDER.joinpath(name).read_bytes()) for name in ("weights.safetensors", "probe.safetensors")}
    assert sum(sizes.values()) < 6_000_000
    assert json.loads(FOLDER.joinpath("card.json").read_text())["file_bytes"] == sizes


def test_the_card_describes_the_shipped_model(shipped: BundledEncoderModel) -> None:
    card = json.loads(FOLDER.joinpath("card.json").read_text())
    assert card["parameters"] == sum(parameter.numel() for parameter in shipped.parameters())
    assert card["flops_256_px"] == shipped.flops(256, 256)
    assert card["classes"]["alphabet"] == ALPHABET


@pytest.mark.parametrize("view", ["thumbnail", "tile"])
def test_the_shipped_weights_read_words_they_never_saw(
    shipped: BundledEncoderModel, measure: ModuleType, view: str
) -> None:
    card = json.loads(FOLDER.joinpath("card.json").read_text())
    reached = measure.score(shipped, load_probe(), seed=card["accuracy"]["seed"] + 1, scenes=16, views=(view,))
    for thing in ("glyph", "word", "kind", "color"):
        assert reached[f"{view}/{thing}"] >= card["accuracy"]["training_fonts"][f"{view}/{thing}"]["share"] - 0.06
    assert reached[f"{view}/glyph"] > 0.8


def test_training_scenes_and_held_out_scenes_share_no_word(measure: ModuleType) -> None:
    from render import Recipe, draw_scene

    from opticnerve.data.reading import is_held_out

    for held_out in (False, True):
        recipe = Recipe(word_lengths=(3, 4), held_out_words=held_out)
        items = [
            item
            for seed in range(3)
            for item in draw_scene(random.Random(seed), height_px=128, width_px=128, recipe=recipe)[1]
        ]
        words = [item.text for item in items if item.text]
        assert len(words) > 10
        assert {is_held_out(word) for word in words} == {held_out}


def test_folding_the_batch_normalisation_changes_nothing(measure: ModuleType) -> None:
    from export import add_batch_norm, fold_batch_norm

    model = small_model()
    add_batch_norm(model)
    pixels = torch.randn(4, 3, 32, 48)
    model(pixels)  # moves the running statistics
    torch.testing.assert_close(fold_batch_norm(model)(pixels), model.eval()(pixels), rtol=1e-4, atol=1e-5)
    assert fold_batch_norm(model).state_dict().keys() == small_model().state_dict().keys()


def test_the_probe_maps_and_names_what_it_says() -> None:
    probe = BundledProbe(dim=32)
    features = torch.randn(2, 6, 32)
    assert probe.glyph_map(features, rows=2).shape == (2, len(ALPHABET) + 1, 4, 12)
    assert probe.words(features).shape == (2, 6, MAX_WORD, len(ALPHABET) + 1)
    with torch.no_grad():
        probe.word.weight.zero_()
        probe.word.bias.zero_()
        probe.word.bias[[35 * 0 + 1 + ALPHABET.index("C"), 35 * 1 + 1 + ALPHABET.index("7")]] = 1.0
    assert probe.read_words(features) == [["C7"] * 6] * 2
