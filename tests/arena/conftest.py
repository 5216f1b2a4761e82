import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from opticnerve.train.recipe import LlavaData


@pytest.fixture
def llava(tmp_path: Path) -> Callable[[int], LlavaData]:
    """Data of one sample with so many images; without any it has no answer."""

    def write(num_images: int) -> LlavaData:
        Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
        turns = [{"from": "human", "value": "<image>" * num_images + "what?"}]
        turns += [{"from": "gpt", "value": "this"}] if num_images else []
        sample = {"id": "a", "image": ["a.png"] * num_images, "conversations": turns}
        path = tmp_path / f"{num_images}.json"
        path.write_text(json.dumps([sample]))
        return LlavaData(kind="llava", path=str(path), images=str(tmp_path))

    return write
