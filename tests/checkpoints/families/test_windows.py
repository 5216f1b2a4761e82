"""What is read of families with windows and codebooks, and what is refused, in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING
from transformers.models.minicpmv4_6.image_processing_minicpmv4_6 import MiniCPMV4_6ImageProcessor

from checkpoints.families.harness import features, save, tiny
from checkpoints.families.windows import ROWS
from opticnerve import ConnectorSpec, Grid
from opticnerve.checkpoints import load_connector
from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layouts import LAYOUTS
from opticnerve.checkpoints.layouts.windows import TABLE
from opticnerve.connectors.blocks import NearestCode
from opticnerve.connectors.blocks.codebook import NearestCodeBlock
from opticnerve.errors import CheckpointError
from opticnerve.tiling.registry import TILINGS, tiling_from_dict


def changed(model_type: str, **changes: Any) -> Config:
    """Make a default config with some settings changed, those of a part by `part__name`."""
    config = CONFIG_MAPPING[model_type]()
    for name, value in changes.items():
        *parts, last = name.split("__")
        setattr(getattr(config, parts[0]) if parts else config, last, value)
    return Config(config)


@pytest.mark.parametrize("layout", TABLE, ids=lambda layout: layout.name)
def test_a_published_connector_counts_its_tokens(layout: Any) -> None:
    reading = layout.published()
    spec = reading.spec.resolve(vision_dim=reading.vision_dim, llm_dim=reading.llm_dim)
    assert spec.num_tokens(Grid(24, 24)) in (64, 144, 576)
    assert spec.num_params(vision_dim=reading.vision_dim, llm_dim=reading.llm_dim) > 0
    assert ConnectorSpec.from_json(spec.to_json()) == spec
    if reading.views.tiling:
        assert tiling_from_dict({"name": reading.views.tiling, **reading.views.tiling_options}).most_tiles > 1


def test_granite_gives_one_set_of_tokens_to_each_of_eight_layers() -> None:
    reading = LAYOUTS["granite4_vision"].published()
    assert reading.spec.num_levels == 5
    assert reading.vision_dim == 5 * 1152
    assert reading.spec.out_grid(Grid(24, 24)) == Grid(12, 12)
    assert reading.spec.out_dim(vision_dim=reading.vision_dim, llm_dim=reading.llm_dim) == 8 * 2560


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("molmo2", {"adapter_config__mlp_bias": True}, "has biases in two of its three Linears"),
        (
            "ovis2",
            {"vision_config__tokenize_function": "gumbel_argmax"},
            '"gumbel_argmax" draws visual words at random',
        ),
        ("granite4_vision", {"deepstack_layer_map": [[0, 0]]}, "does not say downsample_rate"),
        ("granite4_vision", {"qformer_config__hidden_act": "relu"}, 'qformer_config.hidden_act is "relu"'),
        ("minicpmv4_6_vit", {"vision_config__window_kernel_size": (2, 3)}, "must be square, but .* is 2 x 3"),
    ],
)
def test_what_no_block_does_is_refused(name: str, changes: dict[str, Any], words: str) -> None:
    layout = LAYOUTS[name]
    with pytest.raises(CheckpointError, match=words):
        layout.read(changed(layout.model_types[0], **changes), {})


@pytest.mark.parametrize("mode", ["16x", "4x"])
@pytest.mark.parametrize("size", [(300, 200), (448, 448), (1000, 1000), (700, 2400), (2000, 333), (90, 4000)])
def test_minicpm_cuts_images_as_its_processor_does(mode: str, size: tuple[int, int]) -> None:
    views = (
        LAYOUTS["minicpmv4_6"]
        .read(changed("minicpmv4_6", downsample_mode=mode, vision_config__patch_size=14), {})
        .views
    )
    processor, limits = (
        MiniCPMV4_6ImageProcessor(),
        {"scale_resolution": 448, "patch_size": 14, "downsample_mode": mode},
    )
    slices = processor.get_sliced_grid(size, 9, 448)
    want = [(*processor.find_best_resize(size, **limits, allow_upscale=slices is None), 1, 1)]
    if slices:
        want.append((*processor.get_refine_size(size, slices, **limits, allow_upscale=True), *slices))
    plan = TILINGS[views.tiling](**views.tiling_options).plan(*size)
    assert [(one.height_px, one.width_px, one.rows, one.cols) for one in plan.canvases] == want


@pytest.mark.parametrize("name", ["chameleon", "glm_image", "emu3"])
@torch.no_grad()
def test_the_numbers_of_the_codes_are_the_models_image_tokens(name: str, tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.name == name)
    model, grid = tiny(row), Grid(3, 5)
    connector = load_connector(save(model, tmp_path))
    quantiser, last = model.model.vqmodel.quantize, connector.blocks[-1]
    assert isinstance(last, NearestCodeBlock)
    x = features(1, grid.size, 8)
    maps = x.mT.unflatten(2, (3, 5))
    read: Callable[[], Any] = (lambda: quantiser(maps[:, None])) if name == "emu3" else (lambda: quantiser(maps)[2])
    assert torch.equal(last.numbers(x).flatten(), read().flatten())


def test_ovis_pads_a_grid_that_its_stride_does_not_divide() -> None:
    spec = LAYOUTS["ovis2"].read(changed("ovis2", vision_config__hidden_stride=2), {}).spec
    assert spec.out_grid(Grid(5, 7)) == Grid(3, 4)


def test_the_codes_of_glm_image_alone_lie_on_the_sphere() -> None:
    found = {name: LAYOUTS[name].published().spec.blocks[-1] for name in ("chameleon", "glm_image", "emu3")}
    assert {name for name, block in found.items() if isinstance(block, NearestCode) and block.is_normalised} == {
        "glm_image"
    }
