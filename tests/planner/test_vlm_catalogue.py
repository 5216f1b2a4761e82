"""The rows of whole models: every one can be planned, and has as many parameters as its release."""

import pytest

from opticnerve.planner import catalogue
from opticnerve.planner.vlm import find_model

ROWS = catalogue.vlms()


def test_there_are_at_least_thirty_with_source_and_date() -> None:
    assert len(ROWS) >= 30
    assert all(row.source.startswith("https://") and row.date == "2026-11-22" for row in ROWS.values())


def test_short_names_are_unique() -> None:
    assert len({row.short_name.lower() for row in ROWS.values()}) == len(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_can_be_planned(name: str) -> None:
    model = find_model(name)
    look = model.look(1500, 2000)
    assert look.num_tokens > 0
    assert look.encoder_flops > 0
    assert look.connector_flops > 0
    assert model.name == name


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "published_params" in row.facts])
def test_parameters_are_those_of_the_release_within_two_percent(name: str) -> None:
    model = find_model(name)
    ours = model.encoder.num_params + model.connector_params + model.llm.num_params
    assert ours == pytest.approx(ROWS[name].facts["published_params"], rel=0.02)


EXACT = [
    "OpenGVLab/InternVL2_5-8B",
    "OpenGVLab/InternVL3-38B",
    "Qwen/Qwen2-VL-7B-Instruct",
    "Qwen/Qwen2.5-VL-3B-Instruct",
    "Qwen/Qwen3-VL-8B-Instruct",
    "Qwen/Qwen3-VL-30B-A3B-Instruct",
    "google/gemma-3-4b-it",
    "HuggingFaceTB/SmolVLM-256M-Instruct",
    "mistralai/Mistral-Small-3.1-24B-Instruct-2503",
]


@pytest.mark.parametrize("name", EXACT)
def test_parameters_are_exact_where_every_layer_is_read(name: str) -> None:
    model = find_model(name)
    ours = model.encoder.num_params + model.connector_params + model.llm.num_params
    assert ours == ROWS[name].facts["published_params"]


def test_the_connector_fits_its_encoder_and_llm() -> None:
    for name in ROWS:
        model = find_model(name)
        levels = max(model.spec.num_levels, len(model.sight.scales))
        assert model.vision_dim % levels == 0
        assert model.encoder.info.dim in (model.vision_dim, model.vision_dim // levels, model.vision_dim // 3), name
