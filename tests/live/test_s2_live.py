"""S2 gives the numbers of the published package, scaling-on-scales, for every argument that it takes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from s2wrapper import forward as published
from torch import Tensor

from encoders import tiny
from opticnerve.encoders import load_encoder
from opticnerve.multiscale import S2Encoder
from parity import s2_cases

DIM = 12


def tiny_encoder(*, num_prefix: int = 0, bchw: bool = False) -> s2_cases.TinyEncoder:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "patch_embed.weight": (DIM, 3, 4, 4),
        "patch_embed.bias": (DIM,),
        "proj.weight": (DIM, DIM),
        "proj.bias": (DIM,),
        "cls": (num_prefix, DIM),
        "cls_gain": (num_prefix, DIM),
    }
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return s2_cases.TinyEncoder(weights, patch=4, num_prefix=num_prefix, bchw=bchw)


def agree(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape
    assert (got - want).abs().max() <= 2e-5 * max(1.0, want.abs().max().item())


OPTIONS: list[dict[str, Any]] = [
    {"scales": [1]},
    {"scales": [1, 2]},
    {"scales": [1, 2, 3]},
    {"scales": [2, 1]},
    {"scales": [0.5, 1, 1.5]},
    {"scales": [0.5, 1.5], "resize_output_to_idx": 1},
    {"scales": [1, 2, 3], "resize_output_to_idx": -1},
    {"scales": [1, 2, 3], "resize_output_to_idx": 1},
    {"scales": [1, 2], "max_split_size": 16},
    {"scales": [1, 1.5], "max_split_size": 24},
    {"scales": [1, 2], "max_split_size": 64},
    {"img_sizes": [16, 32, 64]},
    {"img_sizes": [16, 48], "max_split_size": 16},
    {"img_sizes": [48, 16], "max_split_size": 24, "resize_output_to_idx": 1},
    {"scales": [1, 3], "split_forward": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("num_prefix", [0, 1, 3])
@torch.no_grad()
def test_s2_of_tokens_agrees_with_the_published_package(options: dict[str, Any], num_prefix: int) -> None:
    images = tiny.pixels(32, 32, batch=3)
    model = tiny_encoder(num_prefix=num_prefix)
    arguments = {**options, "num_prefix_token": num_prefix}
    agree(s2_cases.run(model, images, arguments), published(model, images, **arguments))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_s2_of_maps_agrees_with_the_published_package(options: dict[str, Any]) -> None:
    images = tiny.pixels(32, 32)
    model = tiny_encoder(bchw=True)
    arguments = {**options, "output_shape": "bchw"}
    agree(s2_cases.run(model, images, arguments), published(model, images, **arguments))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_resized_in_float32_and_cast_back_as_published(dtype: torch.dtype) -> None:
    images = tiny.pixels(32, 32).to(dtype)
    model = tiny_encoder()
    model.weights = {name: weight.to(dtype) for name, weight in model.weights.items()}
    arguments: dict[str, Any] = {"scales": [1, 2, 3], "split_forward": True}
    got, want = s2_cases.run(model, images, arguments), published(model, images, **arguments)
    assert got.dtype == want.dtype == dtype
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize(("name", "num_prefix"), [("clip", 1), ("siglip", 0), ("dinov2_with_registers", 5)])
@torch.no_grad()
def test_s2_around_a_transformers_encoder_agrees_with_the_published_package(
    tmp_path: Path, name: str, num_prefix: int
) -> None:
    folder = tiny.save(tiny.randomise(tiny.TOWERS[name]()), tmp_path)
    encoder = load_encoder(folder, layers=(-2,), prefix="keep")
    images = tiny.pixels(28, 28)
    options: dict[str, Any] = {"scales": [1, 2, 3]}
    got = S2Encoder(encoder, spec=s2_cases.spec_of(options, batch=2))(images)
    agree(got, published(encoder, images, num_prefix_token=num_prefix, **options))
