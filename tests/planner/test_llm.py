"""Costs of language models: caches against transformers' own, past the window too, and what grows with what."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from opticnerve.planner import catalogue
from opticnerve.planner.llm import FeedForward
from opticnerve.planner.llm_config import read_llm
from opticnerve.planner.mixers import GatedDelta, GroupedAttention, LatentAttention
from planner.llm_skeletons import cache_bytes, few_layers, measure, run
from planner.parts import MOE, llm

SMALL: dict[str, Any] = {
    "vocab_size": 500,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
WINDOWED: dict[str, dict[str, Any]] = {
    "all layers": {"model_type": "mistral", **SMALL, "sliding_window": 8},
    "every other": {"model_type": "gemma2", **SMALL, "sliding_window": 8},
    "two of three": {"model_type": "gemma3_text", **SMALL, "sliding_window": 8, "sliding_window_pattern": 3},
    "the last two": {
        "model_type": "qwen2",
        **{key: value for key, value in SMALL.items() if key != "head_dim"},
        "sliding_window": 8,
        "use_sliding_window": True,
        "max_window_layers": 2,
    },
    "a list": {
        "model_type": "gpt_oss",
        **SMALL,
        "sliding_window": 8,
        "attention_bias": True,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    },
}


def tiny(settings: dict[str, Any], device: str) -> Any:
    rest = {key: value for key, value in settings.items() if key != "model_type"}
    config = AutoConfig.for_model(settings["model_type"], **rest)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", experts_implementation="batched_mm", dtype=torch.bfloat16
        )
    return model.eval()


@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 30])
@pytest.mark.parametrize("which", WINDOWED)
def test_a_window_bounds_the_cache_as_transformers_does(which: str, tokens: int) -> None:
    ours = read_llm(WINDOWED[which], name="windowed")
    model = tiny(WINDOWED[which], "meta")
    _, cache = run(model, tokens, None)
    assert ours.cached_bytes(tokens) == cache_bytes(cache)
    for made in range(1, 4):
        flops, cache = run(model, 1, cache)
        assert ours.cached_bytes(tokens + made) == cache_bytes(cache)
        assert ours.flops(new=1, past=tokens + made - 1) == pytest.approx(flops, rel=1e-3)


@pytest.mark.parametrize("which", WINDOWED)
def test_a_window_also_bounds_the_operations_of_a_prompt(which: str) -> None:
    windowed = read_llm(WINDOWED[which], name="windowed")
    whole = read_llm({**WINDOWED[which], "sliding_window": 100}, name="whole")
    assert windowed.flops(new=8) == whole.flops(new=8)
    assert windowed.flops(new=80) < whole.flops(new=80)


def test_a_cache_with_numbers_is_as_large_as_one_without() -> None:
    model = tiny(WINDOWED["two of three"], "cpu")
    with torch.no_grad():
        out = model(input_ids=torch.arange(30)[None], use_cache=True)
    assert read_llm(WINDOWED["two of three"], name="gemma").cached_bytes(30) == cache_bytes(out.past_key_values)


def test_a_cache_in_float32_is_twice_as_large() -> None:
    ours = llm()
    assert ours.cached_bytes(10, value_bytes=4) == 2 * ours.cached_bytes(10, value_bytes=2)
    assert ours.cached_bytes(0) == 0


def test_a_latent_cache_is_small_and_expanded_again_by_transformers() -> None:
    row = catalogue.llms()["deepseek-ai/DeepSeek-V2-Lite-Chat"]
    settings = few_layers(row.facts, 2)
    ours, theirs = read_llm(settings, name="latent"), measure(settings, tokens=100)
    mixer = ours.layers[0].mixer
    assert isinstance(mixer, LatentAttention)
    assert ours.cached_bytes(100) == theirs.cached_bytes == 2 * 2 * 100 * (512 + 64)
    heads, rank, nope, rope, value = 16, 512, 128, 64, 128
    expanded = 2 * 100 * rank * heads * (nope + value) + 2 * 101 * heads * (nope + rope + value)
    absorbed = 2 * 101 * heads * (2 * rank + rope)
    dearer = len(ours.layers) * (expanded - absorbed)
    assert ours.flops(new=1, past=100) + dearer == pytest.approx(theirs.step_flops, rel=1e-3)


def test_latent_attention_expands_the_cache_where_that_is_cheaper() -> None:
    mixer = LatentAttention(num_heads=16, q_rank=0, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128)
    maps = mixer.flops(2048, new=1000, past=0) - 2 * 1000 * 1000 * 16 * (128 + 64 + 128)
    expanded = 2 * 100 * 512 * 16 * 256 + 2 * 1000 * 1100 * 16 * (128 + 64 + 128)
    assert mixer.flops(2048, new=1000, past=100) == maps + expanded


def test_a_state_is_of_one_size_for_any_number_of_tokens() -> None:
    mixer = GatedDelta(num_key_heads=2, num_value_heads=4, key_dim=8, value_dim=16, kernel=4)
    assert mixer.cached_bytes(1, value_bytes=2) == mixer.cached_bytes(10**6, value_bytes=2)
    assert mixer.cached_bytes(1, value_bytes=2) == 2 * 4 * (2 * 16 + 64) + 4 * 4 * 8 * 16
    assert mixer.cached_bytes(0, value_bytes=2) == 0
    assert mixer.flops(64, new=1, past=0) == mixer.flops(64, new=1, past=10**6)


def test_a_gate_is_one_more_map_of_the_queries_width() -> None:
    plain = GroupedAttention(num_heads=4, num_kv_heads=2, head_dim=8)
    gated = replace(plain, is_gated=True)
    assert gated.num_params(64) - plain.num_params(64) == 64 * 32
    assert gated.flops(64, new=3, past=5) - plain.flops(64, new=3, past=5) == 2 * 3 * 64 * 32


def test_a_prompt_in_two_parts_costs_as_much_as_in_one_but_for_the_pairs_that_a_mask_hides() -> None:
    ours = llm()
    hidden = len(ours.layers) * 4 * 30 * 70 * 8 * 32
    again = 2 * ours.dim * ours.vocab
    assert ours.flops(new=30) + ours.flops(new=70, past=30) == ours.flops(new=100) - hidden + again


def test_one_token_touches_what_is_active_and_many_touch_everything() -> None:
    ours = read_llm(MOE, name="experts")
    assert ours.active_params < ours.num_params
    assert ours.touched_params(1) == pytest.approx(ours.active_params)
    assert ours.touched_params(2) > ours.touched_params(1)
    assert ours.touched_params(10_000) == pytest.approx(ours.num_params)


def test_embeddings_that_are_not_the_output_map_are_not_read() -> None:
    tied, untied = llm(), llm(tie_word_embeddings=False)
    assert untied.num_params - tied.num_params == 256 * 1000
    assert untied.touched_params(1) == tied.touched_params(1)


def test_experts_are_expected_as_a_draw_without_memory() -> None:
    layer = FeedForward(dim=10, num_experts=4, num_active=1)
    expert = 3 * 8 * 10
    assert layer.touched_params(8, 1) == layer.active_params(8)
    assert layer.touched_params(8, 2) == pytest.approx(layer.active_params(8) + 0.75 * expert)


def test_activations_grow_with_tokens_and_the_widest_layer() -> None:
    assert llm().activation_values(10) == 10 * (3 * 256 + 2 * 768)
    assert read_llm(MOE, name="experts").activation_values(1) == 3 * 256 + 2 * 2 * 128
