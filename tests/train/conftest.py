from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers.utils import logging

from train import tiny


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("parts"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """transformers draws progress bars when it saves and loads."""
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()
