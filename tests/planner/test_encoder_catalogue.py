"""The catalogue's encoders: closed forms against towers of transformers on the meta device, and published counts."""

import pytest

from opticnerve.encoders import Layers
from opticnerve.planner import catalogue
from opticnerve.planner.vit import can_read_vit, read_vit
from planner import skeletons

ROWS = catalogue.encoders()
TRIED = (
    "openai/clip-vit-large-patch14-336",
    "google/siglip-so400m-patch14-384",
    "google/siglip2-base-patch16-naflex",
    "facebook/dinov2-base",
    "facebook/dinov2-with-registers-base",
    "facebook/dinov3-vits16plus-pretrain-lvd1689m",
    "google/vit-base-patch16-224",
    "OpenGVLab/InternViT-300M-448px-V2_5",
    "apple/aimv2-large-patch14-224",
    "Qwen/Qwen2-VL-7B-Instruct",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "Qwen/Qwen3-VL-4B-Instruct",
)
"""One of each kind, in the default suite."""
OTHERS = tuple(name for name, row in ROWS.items() if name not in TRIED and row.facts["model_type"] != "pixtral")
LAYERS: tuple[Layers, ...] = ("last", (-2,))


def check_costs(name: str, layers: Layers) -> None:
    vit = read_vit(ROWS[name].facts, name=name, layers=layers)
    tower = skeletons.sketch(ROWS[name].facts, name=name, layers=layers)
    assert vit.info == tower.info
    assert vit.num_params == pytest.approx(skeletons.num_params(tower), rel=0.01)
    assert vit.num_layers == tower.plan.num_layers - (layers != "last")
    step, (height, width) = vit.info.step_px, skeletons.native_size(vit.info)
    sizes = [(height, width), (height - step, width + 3 * step)] if vit.info.is_any_size else [vit.info.native_px]
    for size in sizes:
        assert vit.flops(*size) == pytest.approx(tower.flops(*size), rel=0.01)


@pytest.mark.parametrize("layers", LAYERS, ids=str)
@pytest.mark.parametrize("name", TRIED)
def test_costs_are_those_of_the_tower(name: str, layers: Layers) -> None:
    check_costs(name, layers)


@pytest.mark.slow
@pytest.mark.parametrize("layers", LAYERS, ids=str)
@pytest.mark.parametrize("name", OTHERS)
def test_costs_of_the_other_rows_are_those_of_the_tower(name: str, layers: Layers) -> None:
    check_costs(name, layers)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "published_params" in row.facts])
def test_parameters_are_as_published(name: str) -> None:
    facts = ROWS[name].facts
    assert read_vit(facts, name=name).num_params == pytest.approx(facts["published_params"], rel=0.01)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("apple/aimv2-large-patch14-224", 309_197_824),
        ("apple/aimv2-huge-patch14-224", 680_851_968),
        ("apple/aimv2-3B-patch14-224", 2_720_658_432),
    ],
)
def test_parameters_are_those_of_the_checkpoint_to_the_last(name: str, count: int) -> None:
    assert read_vit(ROWS[name].facts, name=name).num_params == count


def test_every_row_is_read_and_says_where_it_comes_from() -> None:
    assert len(ROWS) >= 20
    for name, row in ROWS.items():
        assert can_read_vit(row.facts), name
        assert read_vit(row.facts, name=name).info.name == name
        assert row.source == f"https://huggingface.co/{name}/blob/main/config.json"
        assert row.date == "2026-11-22"


def test_siglip_at_384_is_planned_at_27_by_27_patches_as_its_checkpoint_runs() -> None:
    vit = read_vit(ROWS["google/siglip-so400m-patch14-384"].facts, name="siglip")
    assert vit.info.native_px == (384, 384)
    grid = vit.info.grid(378, 378)
    assert (grid.rows, grid.cols) == (27, 27)
