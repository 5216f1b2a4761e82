"""From the settings of a language model to its layers: what mixes tokens in each, and its feed-forward."""

from collections.abc import Sequence

from opticnerve.errors import PlanError
from opticnerve.planner.llm import FeedForward
from opticnerve.planner.llm_settings import Settings
from opticnerve.planner.mixers import GatedDelta, GroupedAttention, LatentAttention, Mixer

_FULL, _SLIDING, _CHUNKED, _LINEAR = "full_attention", "sliding_attention", "chunked_attention", "linear_attention"
_COSTED = frozenset({_FULL, _SLIDING, _CHUNKED, _LINEAR})
_PATTERNS = {"gemma2": 2, "gemma3_text": 6, "gpt_oss": 2, "cohere2": 4}
"""Model types of which every so manieth layer sees everything, where the settings do not say."""
_GATED_DELTA = frozenset({"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"})
_UNGATED = frozenset(
    {"gpt2", "opt", "phi", "gpt_neox", "starcoder2", "nemotron", "apertus", "arcee", "persimmon", "jais2", "nanochat"}
)
"""Model types whose feed-forward is two maps."""
_BIASED_QKV = frozenset(
    {"qwen2", "qwen2_moe", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "llava_qwen"}
)
"""Model types with biases of queries, keys and values, which their settings do not mention."""
_UNBIASED_OUT = frozenset({"glm", "glm4", "glm4_moe"})
"""Model types whose attention_bias leaves out the last map."""
_NORMED_HEADS = frozenset({"qwen3", "qwen3_moe", "qwen3_vl_text", "qwen3_vl_moe_text", "gemma3_text"}) | _GATED_DELTA
"""Model types that norm each head's queries and keys."""
_NORMED_WIDTHS = frozenset({"olmo2", "olmo3", "olmoe", "flex_olmo"})
"""Model types that norm queries and keys over all heads."""


def layer_kinds(found: Settings) -> Sequence[str]:
    """Name the kind of each layer, in order.

    Args:
        found: settings of the model.

    Raises:
        PlanError: the number of layers is missing, or layers are of a kind that is not costed.
    """
    count = found.whole("num_hidden_layers", "n_layer", "num_layers")
    kinds = found.words("layer_types")
    if not kinds:
        return [_kind(found, index) for index in range(count)]
    if len(kinds) != count:
        raise PlanError(
            f"{found.name}: its config.json has {len(kinds)} layer_types for {count} layers: correct either"
        )
    if unknown := sorted(set(kinds) - _COSTED):
        raise PlanError(
            f"{found.name}: layers of the kind {', '.join(unknown)} cannot be costed, only "
            f"{', '.join(sorted(_COSTED))}: take another model"
        )
    return kinds


def _kind(found: Settings, index: int) -> str:
    """Name the kind of a layer where the settings have no list of them."""
    if found.kind in _GATED_DELTA:
        return _FULL if (index + 1) % found.whole("full_attention_interval", default=4) == 0 else _LINEAR
    if found.get("attention_chunk_size"):
        return _CHUNKED if _has_rope(found, index) else _FULL
    if not found.get("sliding_window"):
        return _FULL
    if pattern := found.whole("sliding_window_pattern", default=_PATTERNS.get(found.kind, 0)):
        return _SLIDING if (index + 1) % pattern else _FULL
    if not found.get("use_sliding_window", not found.kind.startswith("qwen")):
        return _FULL
    if found.kind == "smollm3":
        return _FULL if _has_rope(found, index) else _SLIDING
    return _SLIDING if index >= found.whole("max_window_layers", default=0) else _FULL


def _has_rope(found: Settings, index: int) -> bool:
    """Tell whether a layer of Llama 4 or SmolLM3 turns queries and keys by their position."""
    flags: Sequence[int] = found.get("no_rope_layers", ())
    if index < len(flags):
        return bool(flags[index])
    return (index + 1) % found.whole("no_rope_layer_interval", default=4) != 0


def mixer(found: Settings, kind: str, dim: int) -> Mixer:
    """Read what mixes tokens in a layer.

    Args:
        found: settings of the model.
        kind: of the layer.
        dim: width of the layer.

    Raises:
        PlanError: a setting is missing.
    """
    if kind == _LINEAR:
        return GatedDelta(
            num_key_heads=found.whole("linear_num_key_heads"),
            num_value_heads=found.whole("linear_num_value_heads"),
            key_dim=found.whole("linear_key_head_dim"),
            value_dim=found.whole("linear_value_head_dim"),
            kernel=found.whole("linear_conv_kernel_dim"),
        )
    if found.get("kv_lora_rank"):
        heads = found.whole("num_attention_heads")
        return LatentAttention(
            num_heads=heads,
            q_rank=found.whole("q_lora_rank", default=0),
            kv_rank=found.whole("kv_lora_rank"),
            nope_dim=found.whole("qk_nope_head_dim"),
            rope_dim=found.whole("qk_rope_head_dim"),
            v_dim=found.whole("v_head_dim", default=dim // heads),
        )
    return _attention(found, kind, dim)


def _attention(found: Settings, kind: str, dim: int) -> GroupedAttention:
    heads = found.whole("num_attention_heads", "n_head")
    head_dim = found.whole("head_dim", default=dim // heads)
    kv_heads = found.whole("num_key_value_heads", default=heads)
    window = {_SLIDING: "sliding_window", _CHUNKED: "attention_chunk_size"}.get(kind)
    return GroupedAttention(
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        window=found.whole(window) if window else 0,
        is_gated=found.kind in _GATED_DELTA,
        num_biases=_vectors(found, heads * head_dim, kv_heads * head_dim, head_dim, dim),
    )


def _vectors(found: Settings, q_dim: int, kv_dim: int, head_dim: int, dim: int) -> int:
    """Count the learned numbers of attention that are in no matrix."""
    count = 0
    is_biased = found.is_true("attention_bias") or found.is_true("use_bias") or found.kind in ("phi", "opt", "gpt2")
    if is_biased or found.kind in _BIASED_QKV:
        count += q_dim + 2 * kv_dim
    if is_biased and found.kind not in _UNBIASED_OUT:
        count += dim
    if found.kind in _NORMED_HEADS or (found.kind == "glm4_moe" and found.is_true("use_qk_norm")):
        count += 2 * head_dim
    if found.kind in _NORMED_WIDTHS:
        count += q_dim + kv_dim
    return count + (q_dim // head_dim if found.kind == "gpt_oss" else 0)  # a sink for each head


def feed_forward(found: Settings, index: int, dim: int) -> FeedForward:
    """Read a layer's feed-forward.

    Args:
        found: settings of the model.
        index: of the layer, from 0.
        dim: width of the layer.

    Raises:
        PlanError: a setting is missing.
    """
    experts = found.whole("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", default=0)
    if experts < 2 or _is_dense(found, index):
        return _dense(found, dim)
    middle = found.whole("moe_intermediate_size", "intermediate_size")
    biases = {"gpt_oss": experts * (2 * middle + dim + 1), "ernie4_5_moe": experts}
    return FeedForward(
        dim=middle,
        num_experts=experts,
        num_active=found.whole("num_experts_per_tok", "moe_k", "moe_topk"),
        shared_dim=_shared_dim(found, middle),
        is_shared_gated=bool(found.get("shared_expert_intermediate_size")),
        num_biases=biases.get(found.kind, 0),
    )


def _dense(found: Settings, dim: int) -> FeedForward:
    is_gated = found.kind not in _UNGATED
    four = 4 * dim if found.kind == "gpt2" else None
    of_llama4 = found.whole("intermediate_size_mlp", default=0)
    middle = of_llama4 or found.whole("intermediate_size", "n_inner", "ffn_dim", default=four)
    is_biased = found.is_true("mlp_bias") or found.is_true("use_bias") or found.kind in ("phi", "opt", "gpt2")
    biases = (2 if is_gated else 1) * middle + dim if is_biased else 0
    return FeedForward(dim=middle, is_gated=is_gated, num_biases=biases)


def _shared_dim(found: Settings, middle: int) -> int:
    """Return the channels of what all tokens go through beside the experts."""
    if found.kind == "llama4_text":
        return middle
    shared = found.whole("n_shared_experts", "moe_num_shared_experts", default=0) * middle
    return found.whole("shared_expert_intermediate_size", "shared_intermediate_size", default=shared)


def _is_dense(found: Settings, index: int) -> bool:
    """Tell whether a layer of a model with experts has none."""
    kinds = found.words("mlp_layer_types")
    if index < len(kinds):
        return kinds[index] == "dense"
    if (sparse := found.get("moe_layers")) is not None:
        return index not in sparse
    if index < found.whole("first_k_dense_replace", "moe_layer_start_index", default=0):
        return True
    every = found.whole("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval", default=1)
    return index in found.get("mlp_only_layers", ()) or (index + 1) % max(every, 1) != 0
