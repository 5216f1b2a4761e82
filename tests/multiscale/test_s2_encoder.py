"""An encoder with S2 around it answers as an encoder does."""

from pathlib import Path

import pytest
import torch

from encoders import tiny
from opticnerve.encoders import Encoder, load_encoder, sketch_encoder
from opticnerve.grid import Grid
from opticnerve.multiscale import S2, S2Encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.save(tiny.randomise(tiny.TOWERS["clip"]()), tmp_path)


def test_the_wrapped_encoder_knows_its_grid_its_width_and_its_cost(folder: Path) -> None:
    encoder = load_encoder(folder, prefix="keep")
    wrapped = S2Encoder(encoder, spec=S2(scales=(1, 2)))
    images = torch.randint(0, 256, (2, 3, 28, 42), dtype=torch.uint8)
    features = wrapped(wrapped.normalise(images))
    assert wrapped.grid(28, 42) == Grid(4, 6, prefix=1)
    assert features.shape == (2, wrapped.grid(28, 42).size, wrapped.dim)
    assert wrapped.flops(28, 42) == 5 * encoder.flops(28, 42)
    assert (wrapped.name, wrapped.native_px, wrapped.mean, wrapped.std) == (
        encoder.name,
        encoder.native_px,
        encoder.mean,
        encoder.std,
    )


def test_a_scale_in_pixels_names_the_size_to_give(folder: Path) -> None:
    wrapped = S2Encoder(sketch_encoder(folder), spec=S2(scales=(28, 56, 84), unit="px", max_tile_px=28))
    assert wrapped.native_px == (84, 84)
    assert wrapped.grid(84, 84) == Grid(4, 4)


def test_the_weights_of_the_encoder_are_the_weights_of_the_wrapper(folder: Path) -> None:
    encoder: Encoder = load_encoder(folder)
    wrapped = S2Encoder(encoder, spec=S2())
    assert {id(weight) for weight in wrapped.parameters()} == {id(weight) for weight in encoder.parameters()}
