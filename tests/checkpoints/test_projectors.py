"""What the layouts of Linears and MLPs say beside the weights: tiles as their processors cut them, and refusals."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import (
    LlavaNextConfig,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
)

from opticnerve import Grid
from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layouts import LAYOUTS
from opticnerve.errors import CheckpointError
from opticnerve.tiling import tiling_from_dict

SIZES = ((336, 336), (333, 1001), (1000, 37), (480, 640), (2500, 1700), (100, 99), (61, 1999), (673, 336), (384, 385))


def _next() -> tuple[Any, Any]:
    return SimpleNamespace(
        image_processor=LlavaNextImageProcessor(),
        patch_size=14,
        num_additional_image_tokens=0,
        _get_unpadded_features=lambda *sides: LlavaNextProcessor._get_unpadded_features(None, *sides),
    ), LlavaNextProcessor


def _onevision() -> tuple[Any, Any]:
    one = SimpleNamespace(
        image_processor=LlavaOnevisionImageProcessor(), num_image_tokens=27 * 27, vision_aspect_ratio="anyres_max_9"
    )
    one._get_unpadded_features = lambda *sides: LlavaOnevisionProcessor._get_unpadded_features(one, *sides)
    return one, LlavaOnevisionProcessor


@pytest.mark.parametrize(
    ("name", "config", "processor", "tile", "size"),
    [
        ("llava_next", LlavaNextConfig(), _next, 336, {"shortest_edge": 336}),
        ("llava_onevision", LlavaOnevisionConfig(), _onevision, 384, {"height": 384, "width": 384}),
    ],
)
def test_anyres_models_give_as_many_tiles_and_tokens_as_their_processor(
    name: str, config: Any, processor: Any, tile: int, size: dict[str, int]
) -> None:
    reading = LAYOUTS[name].read(Config(config), {})
    views = reading.views
    tiling = tiling_from_dict({"name": views.tiling, **views.tiling_options})
    counter, kind = processor()
    for height, width in SIZES:
        plan = tiling.plan(height, width)
        grids = [reading.spec.out_grid(grid) for grid in plan.token_grids(views.patch_px)]
        assert plan.num_tokens(grids) == kind._get_number_of_features(counter, height, width, tile, tile)
        pixels = counter.image_processor(
            torch.zeros(3, height, width, dtype=torch.uint8),
            size=size,
            crop_size={"height": tile, "width": tile},
            return_tensors="pt",
        ).pixel_values
        assert plan.num_tiles == pixels.shape[1]
        assert pixels.shape[-2:] == (tile, tile)


def test_layouts_of_videos_and_of_images_pool_only_the_videos() -> None:
    def count(name: str, side: int) -> int:
        return LAYOUTS[name].published().spec.num_tokens(Grid(side, side))

    assert [count(name, 24) for name in ("llava_next_video", "llava_next_video_image")] == [144, 576]
    assert [count(name, 24) for name in ("video_llama_3", "video_llama_3_image")] == [144, 576]
    assert [count(name, 27) for name in ("llava_onevision_video", "llava_onevision")] == [196, 729]


def test_features_that_keep_their_cls_are_counted_and_not_tiled() -> None:
    views = LAYOUTS["llava_next"].read(Config(LlavaNextConfig(vision_feature_select_strategy="full")), {}).views
    assert (views.num_prefix, views.tiling, views.tiling_options) == (1, "", {})


def test_pixtral_in_llava_is_seen_at_its_native_size() -> None:
    config = Config.of({"model_type": "llava", "vision_config": {"model_type": "pixtral", "patch_size": 16}})
    views = LAYOUTS["llava"].read(config, {}).views
    assert (views.policy[:11], views.patch_px, views.tile_px) == ("native size", 16, 0)


def test_a_pool_with_weights_is_refused() -> None:
    config = Config.of({"model_type": "llava_next_video", "spatial_pool_mode": "conv"})
    with pytest.raises(
        CheckpointError, match='is read in mode "average" or "max", got spatial_pool_mode="conv"; images'
    ):
        LAYOUTS["llava_next_video"].read(config, {})


def test_two_encoders_of_unequal_width_are_refused() -> None:
    config = Config.default("deepseek_vl_hybrid")
    with pytest.raises(CheckpointError, match="must be equally wide, .* got 1024 channels of SAM and 768 of SigLIP"):
        LAYOUTS["deepseek_vl_hybrid"].read(config, {})
