"""Reading config.json: what families leave out, what is refused, and what is said then."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from opticnerve.errors import PlanError
from opticnerve.planner import catalogue
from opticnerve.planner.llm import LLM
from opticnerve.planner.llm_config import read_llm
from opticnerve.planner.mixers import GatedDelta, GroupedAttention
from planner.parts import MOE, SETTINGS

WINDOWED = {**SETTINGS, "model_type": "mistral", "sliding_window": 8}
LATENT = {
    **SETTINGS,
    "model_type": "deepseek_v3",
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
}
HYBRID = {
    **SETTINGS,
    "model_type": "qwen3_next",
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
}


def read(settings: Mapping[str, Any], **changes: object) -> LLM:
    return read_llm({**settings, **changes}, name="here/model")


def windows(model: LLM) -> list[int]:
    mixers = [layer.mixer for layer in model.layers]
    return [mixer.window for mixer in mixers if isinstance(mixer, GroupedAttention)]


def without(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != key}


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        *((SETTINGS, key) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")),
        (SETTINGS, "intermediate_size"),
        (MOE, "num_experts_per_tok"),
        *((LATENT, key) for key in ("qk_nope_head_dim", "qk_rope_head_dim")),
        *((HYBRID, key) for key in HYBRID if key.startswith("linear_")),
    ],
)
def test_a_missing_setting_is_named_and_a_null_one_counts_as_missing(settings: dict[str, Any], key: str) -> None:
    message = f'here/model: its config.json does not say "{key}", which its cost needs: take the config.json of the'
    with pytest.raises(PlanError, match=message):
        read(without(settings, key))
    with pytest.raises(PlanError, match=message):
        read(settings, **{key: None})


@pytest.mark.parametrize("value", ["256", 2.5, True, 0, -1, [256]])
def test_a_setting_that_is_no_number_is_shown(value: object) -> None:
    with pytest.raises(PlanError, match=r"config\.json has hidden_size=.*, which must be a whole number of at least 1"):
        read(SETTINGS, hidden_size=value)


def test_settings_that_may_be_left_out_may_be_null() -> None:
    none = dict.fromkeys(["sliding_window", "layer_types", "n_routed_experts", "head_dim", "num_key_value_heads"])
    mixer = read(SETTINGS, **none).layers[0].mixer
    assert isinstance(mixer, GroupedAttention)
    assert (mixer.num_kv_heads, mixer.head_dim, mixer.window) == (8, 32, 0)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("mamba_d_state", 16, "state-space layers"),
        ("hybrid_override_pattern", "M-M*", "state-space layers"),
        ("block_types", ["recurrent", "attention"], "recurrent layers"),
        ("conv_L_cache", 3, "layers of short convolutions"),
        ("linear_attn_config", {"num_heads": 4}, "Kimi's delta attention"),
        ("full_attn_alpha_factor", 1, "lightning attention"),
        ("index_topk", 2048, "attention with an indexer"),
        ("hidden_size_per_layer_input", 256, "embeddings for each layer"),
        ("num_kv_shared_layers", 15, "keys and values that layers share"),
        ("cross_attention_layers", [3, 8], "cross-attention layers"),
        ("is_encoder_decoder", True, "an encoder and a decoder"),
    ],
)
def test_a_model_that_is_built_otherwise_is_refused_in_a_line(key: str, value: object, words: str) -> None:
    message = f"here/model: its config.json has {key}, and {words} cannot be costed: take another model"
    with pytest.raises(PlanError, match=f"^{message}$"):
        read(SETTINGS, **{key: value})


def test_a_kind_of_layer_that_is_not_known_is_refused_in_a_line() -> None:
    with pytest.raises(PlanError, match=r"layers of the kind conv, mamba cannot be costed, only .*linear_attention"):
        read(SETTINGS, layer_types=["mamba", "conv", "full_attention", "conv"])


def test_a_list_of_layers_must_be_a_list_of_all_layers() -> None:
    with pytest.raises(PlanError, match="has 2 layer_types for 4 layers: correct either"):
        read(SETTINGS, layer_types=["full_attention"] * 2)
    with pytest.raises(PlanError, match=r"has layer_types='full_attention', which must be a list of words"):
        read(SETTINGS, layer_types="full_attention")


def test_the_length_of_a_window_must_be_said() -> None:
    with pytest.raises(PlanError, match='does not say "sliding_window"'):
        read(SETTINGS, layer_types=["sliding_attention"] * 4)


def test_a_window_holds_for_all_layers_some_or_none() -> None:
    assert windows(read(WINDOWED)) == [8, 8, 8, 8]
    assert windows(read(WINDOWED, sliding_window=None)) == [0, 0, 0, 0]
    assert windows(read(WINDOWED, sliding_window_pattern=2)) == [8, 0, 8, 0]
    assert windows(read(WINDOWED, model_type="gemma2")) == [8, 0, 8, 0]
    assert windows(read(WINDOWED, model_type="gemma3_text", num_hidden_layers=7)) == [8, 8, 8, 8, 8, 0, 8]


def test_qwen_s_window_is_off_unless_it_is_switched_on() -> None:
    qwen = {**WINDOWED, "model_type": "qwen2"}
    assert windows(read(qwen)) == [0, 0, 0, 0]
    assert windows(read(qwen, use_sliding_window=True, max_window_layers=3)) == [0, 0, 0, 8]


def test_chunks_and_windows_leave_out_layers_without_rotary_positions() -> None:
    chunked = {**SETTINGS, "model_type": "llama4_text", "attention_chunk_size": 8}
    assert windows(read(chunked)) == [8, 8, 8, 0]
    assert windows(read(chunked, no_rope_layers=[0, 1, 1, 1])) == [0, 8, 8, 8]
    smol = {**WINDOWED, "model_type": "smollm3", "use_sliding_window": True}
    assert windows(read(smol, no_rope_layer_interval=2)) == [0, 8, 0, 8]


def test_every_fourth_layer_of_a_hybrid_attends() -> None:
    kinds = [isinstance(layer.mixer, GatedDelta) for layer in read(HYBRID).layers]
    assert kinds == [True, True, True, False]
    kinds = [isinstance(layer.mixer, GatedDelta) for layer in read(HYBRID, full_attention_interval=2).layers]
    assert kinds == [True, False, True, False]


@pytest.mark.parametrize(
    ("changes", "dense"),
    [
        ({}, [0, 0, 0, 0]),
        ({"first_k_dense_replace": 2}, [1, 1, 0, 0]),
        ({"moe_layer_start_index": 1}, [1, 0, 0, 0]),
        ({"decoder_sparse_step": 2}, [1, 0, 1, 0]),
        ({"interleave_moe_layer_step": 2}, [1, 0, 1, 0]),
        ({"moe_layers": [1]}, [1, 0, 1, 1]),
        ({"moe_layers": []}, [1, 1, 1, 1]),
        ({"mlp_only_layers": [2]}, [0, 0, 1, 0]),
        ({"mlp_layer_types": ["dense", "sparse", "sparse", "dense"]}, [1, 0, 0, 1]),
        ({"num_experts": 0}, [1, 1, 1, 1]),
    ],
)
def test_layers_without_experts_are_named_in_many_ways(changes: dict[str, Any], dense: list[int]) -> None:
    layers = read(MOE, **changes).layers
    assert [int(layer.feed_forward.num_experts == 1) for layer in layers] == dense
    assert {layer.feed_forward.dim for layer in layers} <= {128, 768}


def test_what_all_tokens_go_through_beside_experts_is_said_in_two_ways() -> None:
    assert read(MOE, n_shared_experts=2).layers[0].feed_forward.shared_dim == 256
    gated = read(MOE, shared_expert_intermediate_size=64).layers[0].feed_forward
    assert (gated.shared_dim, gated.is_shared_gated) == (64, True)


@pytest.mark.parametrize("part", ["text_config", "llm_config", "language_config"])
def test_the_text_part_of_a_whole_model_is_taken(part: str) -> None:
    whole = {"model_type": "some_vlm", "hidden_size": 1, part: SETTINGS}
    assert read(whole) == read(SETTINGS)


def test_a_whole_model_may_say_outside_that_embeddings_are_tied() -> None:
    part = without(SETTINGS, "tie_word_embeddings")
    assert read({"text_config": part, "tie_word_embeddings": True}).is_tied
    assert not read({"text_config": part}).is_tied
    assert read({"text_config": {**part, "model_type": "gemma2"}}).is_tied
    assert not read({"text_config": SETTINGS | {"tie_word_embeddings": False}, "tie_word_embeddings": True}).is_tied


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"])
def test_a_whole_model_leaves_out_what_is_its_family_s_own(kind: str) -> None:
    ours = read({"model_type": "some_vlm", "text_config": {"model_type": kind}})
    config = AutoConfig.for_model(kind)
    with torch.device("meta"):
        theirs = AutoModelForCausalLM.from_config(config)
    assert ours.num_params == sum(parameter.numel() for parameter in theirs.parameters())
    assert ours == read(config.to_dict())


def test_gemma_3_says_little_of_its_text_part_and_is_the_catalogue_s_model() -> None:
    said = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
    ours = read({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", **said}})
    row = catalogue.llms()["google/gemma-3-4b-it"]
    assert ours == read(row.facts)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_a_language_model_itself_leaves_out_nothing(kind: str) -> None:
    with pytest.raises(PlanError, match='does not say "hidden_size"'):
        read({"model_type": kind})


@pytest.mark.parametrize(
    "kind",
    [
        *("apertus", "arcee", "cohere", "cohere2", "exaone4", "ernie4_5", "flex_olmo", "glm", "glm4", "glm4_moe_lite"),
        *(
            "granitemoe",
            "granitemoeshared",
            "helium",
            "internlm3",
            "jais2",
            "minimax_m2",
            "ministral3",
            "mimo_v2_flash",
        ),
        *("nanochat", "olmo", "olmo3", "olmoe", "persimmon", "phi", "phimoe", "qwen2_moe", "seed_oss", "solar_open"),
        *("stablelm", "starcoder2", "youtu"),
    ],
)
# apertus says at import that a kernel for its activation is not there
@pytest.mark.filterwarnings("ignore")
def test_families_that_the_catalogue_does_not_have_are_read_too(kind: str) -> None:
    config = AutoConfig.for_model(kind)
    with torch.device("meta"):
        theirs = AutoModelForCausalLM.from_config(config)
    count = sum(parameter.numel() for parameter in theirs.parameters())
    assert read(config.to_dict()).num_params == pytest.approx(count, rel=0.01)
