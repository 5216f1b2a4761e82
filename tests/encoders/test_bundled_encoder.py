"""The bundled encoder behind the common interface."""

import pytest
import torch

from opticnerve.encoders import bundled, load_encoder, sketch_encoder
from opticnerve.encoders.base import Encoder
from opticnerve.encoders.bundled.model import BundledEncoderModel
from opticnerve.errors import EncoderError
from opticnerve.grid import Grid


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> BundledEncoderModel:
    """Stand in for the shipped weights, so that these tests do not depend on how it was trained."""
    torch.manual_seed(0)
    built = BundledEncoderModel()
    weights = built.state_dict()

    def load() -> BundledEncoderModel:
        fresh = BundledEncoderModel()
        fresh.load_state_dict(weights)
        return fresh.eval()

    monkeypatch.setattr(bundled, "load_bundled", load)
    return built.eval()


def test_the_bundled_encoder_is_loaded_by_name(model: BundledEncoderModel) -> None:
    encoder = load_encoder("bundled")
    pixels = torch.randn(2, 3, 64, 96)
    assert isinstance(encoder, Encoder)
    assert encoder.grid(64, 96) == Grid(4, 6)
    assert torch.equal(encoder(pixels), model(pixels))
    assert encoder.flops(64, 96) == model.flops(64, 96)
    assert (encoder.mean, encoder.std) == (model.mean, model.std)
    assert sketch_encoder("bundled").info == encoder.info


def test_its_layers_are_numbered_like_those_of_every_encoder(model: BundledEncoderModel) -> None:
    encoder = load_encoder("bundled", layers=(-2, 1))
    pixels = torch.randn(1, 3, 32, 32)
    assert encoder.dim == 2 * model.dim
    assert torch.equal(encoder(pixels), model(pixels, layers=(model.num_layers - 2, 0)))
    assert encoder.flops(32, 32) < model.flops(32, 32)
    assert torch.equal(load_encoder("bundled", layers=(-1,))(pixels), model(pixels, layers=(model.num_layers - 1,)))


def test_every_weight_of_a_cut_bundled_encoder_takes_part() -> None:
    encoder = load_encoder("bundled", layers=(2,))
    encoder(torch.randn(1, 3, 32, 32)).sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())


def test_what_enters_the_first_block_of_the_bundled_encoder_is_not_a_layer() -> None:
    with pytest.raises(
        EncoderError, match=r"does not return what enters its first block \(layer 0\), got layers=\(0,\)"
    ):
        load_encoder("bundled", layers=(0,))


def test_a_size_that_does_not_fit_the_bundled_encoder_is_an_encoder_error() -> None:
    with pytest.raises(EncoderError, match='encoder "bundled" cannot take an image of 60 x 64 px'):
        load_encoder("bundled")(torch.zeros(1, 3, 60, 64))
