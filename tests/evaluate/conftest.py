"""A tiny model that answers at random."""

from pathlib import Path
from typing import Any

import pytest

from family.tiny import save_llm
from opticnerve.vlm import assemble

TEMPLATE = "{% for m in messages %}{{ m['role'] + ' : ' + m['content'] + '\\n' }}{% endfor %}assistant :"


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    llm = save_llm(tmp_path_factory.mktemp("llm"))
    model, processor = assemble(llm=llm, method="pixel_shuffle", method_options={"factor": 4}, template="plain")
    processor.chat_template = processor.tokenizer.chat_template = TEMPLATE
    return model, processor


@pytest.fixture
def folder(tmp_path: Path, talker: tuple[Any, Any]) -> Path:
    for part in talker:
        part.save_pretrained(tmp_path / "model")
    return tmp_path / "model"
