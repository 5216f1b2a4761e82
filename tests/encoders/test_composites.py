"""The vision tower of a whole model: its weights and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch

from encoders import tiny
from opticnerve.encoders import load_encoder


@pytest.mark.parametrize("name", tiny.COMPOSITES)
def test_the_vision_tower_of_a_composite_checkpoint_has_its_weights(tmp_path: Path, name: str) -> None:
    build, find = tiny.COMPOSITES[name]
    whole: Any = tiny.randomise(build())
    encoder = load_encoder(tiny.save(whole, tmp_path), layers=(-2,), prefix="keep")
    pixels = tiny.pixels(28, 28)
    with torch.no_grad():
        wanted = find(whole)(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(encoder(pixels), wanted, rtol=0, atol=1e-6)


def test_a_masked_tower_takes_sizes_that_are_not_square(tmp_path: Path) -> None:
    encoder = load_encoder(tiny.save(tiny.randomise(tiny.idefics3()), tmp_path))
    assert encoder(tiny.pixels(21, 42)).shape == (2, encoder.grid(21, 42).size, 16)
