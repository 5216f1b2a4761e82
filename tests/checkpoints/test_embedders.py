"""What the readers of Gemma's family refuse."""

import pytest

from opticnerve.checkpoints import LAYOUTS
from opticnerve.checkpoints.config import Config
from opticnerve.errors import CheckpointError


def test_a_number_of_tokens_that_lies_on_no_square_map_is_refused() -> None:
    sizes = {"image_size": 896, "patch_size": 14, "layer_norm_eps": 1e-6, "hidden_size": 8}
    config = Config({"vision_config": sizes, "text_config": {"hidden_size": 8}, "mm_tokens_per_image": 200})
    with pytest.raises(CheckpointError, match="must be the square of a whole number, as Gemma 3 has it, got 200"):
        LAYOUTS["gemma3"].read(config, {})
