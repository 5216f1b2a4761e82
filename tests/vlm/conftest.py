"""Language models in folders, written once; no progress bars."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from transformers.utils import logging

from vlm import tiny


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """transformers draws progress bars when it saves and loads."""
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="session")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a family's language model."""
    root = tmp_path_factory.mktemp("llms")
    return cache(lambda family: tiny.save_llm(root / family, family))


@pytest.fixture(scope="session")
def llama(llm: Callable[[str], Path]) -> Path:
    """Folder of the tiny Llama."""
    return llm("llama")
