"""Language models of transformers without weights, to measure what the planner computes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

LLAMA_LIKE = frozenset({"internlm2"})
"""Model types that transformers has only as remote code, and which are built like Llama."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What transformers' model comes to."""

    params: int
    flops: int
    """For the prompt and the next token's scores."""
    cached_bytes: int
    """Of the cache after the prompt."""
    step_flops: int
    """For one token after the prompt."""
    step_cached_bytes: int
    """Of the cache after that token."""


def few_layers(facts: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Take the first layers of a catalogue row's model; its settings say for all others what they are."""
    settings = {key: value for key, value in facts.items() if key != "published_params"}
    return {**settings, "num_hidden_layers": count}


def measure(settings: Mapping[str, Any], *, tokens: int) -> Measured:
    """Run transformers' model of some settings on the meta device, in bfloat16."""
    kind = "llama" if settings["model_type"] in LLAMA_LIKE else settings["model_type"]
    config = AutoConfig.for_model(kind, **{key: value for key, value in settings.items() if key != "model_type"})
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, attn_implementation="eager", experts_implementation="batched_mm", dtype=torch.bfloat16
        ).eval()
    prompt, cache = run(model, tokens, None)
    cached = cache_bytes(cache)
    step, cache = run(model, 1, cache)
    return Measured(
        params=sum(parameter.numel() for parameter in model.parameters()),
        flops=prompt,
        cached_bytes=cached,
        step_flops=step,
        step_cached_bytes=cache_bytes(cache),
    )


def run(model: Any, tokens: int, cache: Any) -> tuple[int, Any]:
    """Compute some tokens; return the operations that torch counts, and the cache."""
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return counter.get_total_flops(), out.past_key_values


def cache_bytes(cache: Any) -> int:
    """Sum the bytes of every tensor that transformers' cache holds: keys and values, or states."""
    return sum(tensor.numel() * tensor.element_size() for layer in cache.layers for tensor in held(layer))


def held(layer: Any) -> list[Tensor]:
    """List the tensors of one layer of a cache."""
    states = [getattr(layer, name, {}) for name in ("conv_states", "recurrent_states")]
    both = [getattr(layer, name, None) for name in ("keys", "values")]
    return [tensor for tensor in (*both, *(one for some in states for one in some.values())) if tensor is not None]
