"""Mean and deviation: the checkpoint's, the family's, the caller's."""

import json
from pathlib import Path

import pytest
import torch

from encoders import tiny
from opticnerve.encoders import Normalisation, load_encoder, sketch_encoder
from opticnerve.errors import EncoderError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.save(tiny.TOWERS["clip"](), tmp_path)


def test_a_checkpoint_without_a_processor_has_the_normalisation_of_its_family(folder: Path) -> None:
    encoder = sketch_encoder(folder)
    assert encoder.mean == (0.48145466, 0.4578275, 0.40821073)
    assert encoder.std == (0.26862954, 0.26130258, 0.27577711)


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("preprocessor_config.json", {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}),
        ("processor_config.json", {"image_processor": {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}}),
    ],
)
def test_the_processor_of_a_checkpoint_has_the_say(folder: Path, file: str, settings: dict[str, object]) -> None:
    (folder / file).write_text(json.dumps(settings))
    encoder = sketch_encoder(folder)
    assert (encoder.mean, encoder.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_the_caller_has_the_last_say(folder: Path) -> None:
    chosen = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert sketch_encoder(folder, normalisation=chosen).info.normalisation == chosen


def test_normalising_is_dividing_by_255_then_moving_and_scaling(folder: Path) -> None:
    encoder = load_encoder(folder)
    images = torch.randint(0, 256, (2, 3, 28, 35), dtype=torch.uint8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (encoder.mean, encoder.std))
    torch.testing.assert_close(encoder.normalise(images), (images / 255 - mean) / std, rtol=0, atol=2e-6)


def test_an_unknown_family_without_a_processor_asks_for_its_normalisation(tmp_path: Path) -> None:
    import transformers as hf

    model = hf.IJepaModel(hf.IJepaConfig(**tiny.SIZES, **tiny.PICTURE))
    folder = tiny.save(model, tmp_path)
    with pytest.raises(EncoderError, match=r'family "ijepa" are not known: pass normalisation=Normalisation'):
        load_encoder(folder)
    own = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert load_encoder(folder, normalisation=own)(tiny.pixels(28, 28)).shape == (2, 16, 16)


def test_a_normalisation_needs_deviations_above_zero() -> None:
    with pytest.raises(EncoderError, match="three means and three deviations above 0, got mean="):
        Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.0, 0.5))
