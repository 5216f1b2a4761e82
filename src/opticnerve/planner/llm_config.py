"""From the settings of a published language model (config.json) to what the planner needs of them."""

from collections.abc import Mapping
from typing import Any

from opticnerve.errors import PlanError
from opticnerve.planner.llm import LLM, Layer
from opticnerve.planner.llm_layers import feed_forward, layer_kinds, mixer
from opticnerve.planner.llm_settings import Settings

_TIED = frozenset(
    {"gemma", "gemma2", "gemma3_text", "cohere", "cohere2", "gpt2", "opt", "smollm3", "starcoder2", "ernie4_5"}
    | {"ernie4_5_moe", "minicpm3"}
)
"""Model types whose output map is the embedding table where the settings do not say."""
_FOUR_NORMS = frozenset({"gemma2", "gemma3_text", "glm4"})
"""Model types that norm before and after attention and feed-forward."""
_ONE_NORM = frozenset({"cohere", "cohere2"})
"""Model types whose attention and feed-forward share a norm."""
_NOT_COSTED: Mapping[str, str] = {
    "mamba_d_state": "state-space layers",
    "state_size": "state-space layers",
    "ssm_state_size": "state-space layers",
    "hybrid_override_pattern": "state-space layers",
    "block_types": "recurrent layers",
    "conv_L_cache": "layers of short convolutions",
    "linear_attn_config": "Kimi's delta attention",
    "full_attn_alpha_factor": "lightning attention",
    "index_topk": "attention with an indexer",
    "hidden_size_per_layer_input": "embeddings for each layer",
    "num_kv_shared_layers": "keys and values that layers share",
    "cross_attention_layers": "cross-attention layers",
    "is_encoder_decoder": "an encoder and a decoder",
}
"""Settings of models that are built otherwise."""


def read_llm(settings: Mapping[str, Any], *, name: str) -> LLM:
    """Read a language model's settings.

    Args:
        settings: the content of config.json; of a vision-language model, its text part is taken.
        name: what messages and tables call it.

    Raises:
        PlanError: a setting is missing, or a kind of layer is not known.
    """
    found = Settings(settings, name=name)
    for key, words in _NOT_COSTED.items():
        if found.is_true(key):
            raise PlanError(f"{name}: its config.json has {key}, and {words} cannot be costed: take another model")
    dim = found.whole("hidden_size", "n_embd", "d_model")
    norms = 4 if found.kind in _FOUR_NORMS else 1 if found.kind in _ONE_NORM else 2
    layers = tuple(
        Layer(mixer=mixer(found, kind, dim), feed_forward=feed_forward(found, index, dim), num_norms=norms)
        for index, kind in enumerate(layer_kinds(found))
    )
    return LLM(name=name, dim=dim, vocab=found.whole("vocab_size"), layers=layers, is_tied=_is_tied(found))


def _is_tied(found: Settings) -> bool:
    """Tell whether the output map is the embedding table; a whole model may say so outside of its text part."""
    outside = found.whole_values.get("tie_word_embeddings")
    return bool(found.get("tie_word_embeddings", found.kind in _TIED if outside is None else outside))
