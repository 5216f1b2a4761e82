"""The catalogue of language models: what is published, and what torch counts on transformers' own models."""

from typing import Any

import pytest

from opticnerve.planner import catalogue
from opticnerve.planner.llm import LLM
from opticnerve.planner.llm_config import read_llm
from planner.llm_skeletons import few_layers, measure

LLMS = catalogue.llms()
TOKENS = 128
"""A multiple of the gated delta rule's chunk, and as many as the smallest window of the catalogue."""
ALL_EXPERTS = frozenset({"llama4_text"})
"""Model types whose experts all compute every token in transformers, and are weighed by 0 afterwards."""
REEXPANDED = frozenset({"deepseek_v2", "deepseek_v3", "minicpm3"})
"""Model types that transformers decodes in the dearer of two orders; see test_llm.py."""
LAYERS = {"gemma3_text": 6}
"""Layers that show every kind of layer, where 4 do not."""


def both(name: str) -> tuple[LLM, Any]:
    facts = LLMS[name].facts
    settings = few_layers(facts, LAYERS.get(facts["model_type"], 4))
    return read_llm(settings, name=name), measure(settings, tokens=TOKENS)


def test_the_catalogue_has_more_than_thirty_models_of_all_kinds() -> None:
    kinds = {type(layer.mixer).__name__ for name in LLMS for layer in find(name).layers}
    assert len(LLMS) > 30
    assert kinds == {"GroupedAttention", "LatentAttention", "GatedDelta"}
    assert any(layer.feed_forward.num_experts > 1 for name in LLMS for layer in find(name).layers)
    assert any(layer.mixer.window for name in LLMS for layer in find(name).layers if hasattr(layer.mixer, "window"))


def find(name: str) -> LLM:
    return read_llm(LLMS[name].facts, name=name)


@pytest.mark.parametrize("name", [name for name, row in LLMS.items() if "published_params" in row.facts])
def test_parameters_are_those_that_are_published(name: str) -> None:
    assert find(name).num_params == pytest.approx(LLMS[name].facts["published_params"], rel=0.01)


def test_most_published_counts_are_met_to_the_last_parameter() -> None:
    exact = [name for name, row in LLMS.items() if find(name).num_params == row.facts.get("published_params")]
    assert len(exact) >= 50


@pytest.mark.parametrize("name", LLMS)
def test_every_row_says_where_it_is_from(name: str) -> None:
    row = LLMS[name]
    assert row.source.startswith(f"https://huggingface.co/{name}/")
    assert row.date == "2026-11-22"


@pytest.mark.parametrize("name", LLMS)
def test_parameters_operations_and_cache_are_those_of_transformers(name: str) -> None:
    ours, theirs = both(name)
    kind = LLMS[name].facts["model_type"]
    assert ours.num_params == pytest.approx(theirs.params, rel=1e-3)
    assert ours.cached_bytes(TOKENS) == theirs.cached_bytes
    assert ours.cached_bytes(TOKENS + 1) == theirs.step_cached_bytes
    if kind not in ALL_EXPERTS:
        assert ours.flops(new=TOKENS) == pytest.approx(theirs.flops, rel=1e-3)
    if kind not in ALL_EXPERTS | REEXPANDED:
        assert ours.flops(new=1, past=TOKENS) == pytest.approx(theirs.step_flops, rel=0.01)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen3-30B-A3B", 3.3),
        ("Qwen/Qwen3-235B-A22B", 22),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 12.9),
        ("deepseek-ai/DeepSeek-V3", 37),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 17),
    ],
)
def test_active_parameters_are_those_that_are_published(name: str, billions: float) -> None:
    assert find(name).active_params / 1e9 == pytest.approx(billions, rel=0.02)


def test_llama_4_s_experts_are_counted_as_chosen_and_not_as_transformers_runs_them() -> None:
    ours, theirs = both("meta-llama/Llama-4-Scout-17B-16E-Instruct")
    layer = ours.layers[0].feed_forward
    idle = len(ours.layers) * (layer.num_experts - layer.num_active) * 2 * TOKENS * 3 * ours.dim * layer.dim
    assert ours.flops(new=TOKENS) + idle == pytest.approx(theirs.flops, rel=1e-3)
