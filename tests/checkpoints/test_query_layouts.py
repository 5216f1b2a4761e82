"""What the layouts with learned queries refuse, and say why."""

import re
from typing import Any

import pytest

from opticnerve import Grid
from opticnerve.checkpoints import LAYOUTS
from opticnerve.checkpoints.config import Config
from opticnerve.errors import CheckpointError, GridError


def settings(model_type: str, **values: Any) -> Config:
    return Config.of({"model_type": model_type, **values}, source="here")


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        (
            "git",
            settings("git", num_image_with_embedding=6),
            "here is GIT for videos, which adds a vector to all features",
        ),
        (
            "blip_2",
            settings("blip-2", qformer_config={"hidden_act": "relu"}),
            "here has a Q-Former whose activation is not the exact GELU",
        ),
        (
            "aria",
            settings("aria", projector_patch_to_query_dict={"36": 4, "40": 5}),
            "projector_patch_to_query_dict of here has 40 patches, which are no square",
        ),
    ],
    ids=["git", "blip_2", "aria"],
)
def test_settings_that_no_block_can_follow_are_refused(name: str, config: Config, message: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(message)):
        LAYOUTS[name].read(config, {})


def test_aria_takes_queries_by_the_longer_side_of_the_image() -> None:
    spec = LAYOUTS["aria"].published().spec
    assert [spec.num_tokens(grid) for grid in (Grid(35, 35), Grid(24, 35), Grid(70, 24))] == [128, 128, 256]
    with pytest.raises(GridError, match="whose longer side has 35, 70 patches, but the grid is 34 x 20"):
        spec.num_tokens(Grid(34, 20))


@pytest.mark.parametrize("name", ["instructblip", "instructblipvideo"])
def test_instructblip_reads_words_and_blip_2_does_not(name: str) -> None:
    assert LAYOUTS[name].published().spec.blocks[0].kind == "text_qformer"
    assert LAYOUTS["blip_2"].published().spec.blocks[0].kind == "qformer"
