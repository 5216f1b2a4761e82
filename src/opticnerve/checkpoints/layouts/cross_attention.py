"""Layouts of connectors that are one cross-attention: Aria, Kosmos-2 and Kosmos-2.5."""

from opticnerve.checkpoints.entries import Entry, module
from opticnerve.checkpoints.layouts.sequential import named
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import CrossAttention

_KOSMOS = "image_to_text_projection"


def aria(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Aria's projector; the attention inside is torch's own, whose three Linears are one tensor."""
    names = ("cross_attn.linear", "layer_norm", "feed_forward.linear_in", "feed_forward.linear_out")
    entries = [*named(spec, *names)]
    for ours in _attentions(spec):
        entries += [Entry(theirs="query", ours=(f"{ours}.queries",))]
        entries += module(f"{ours}.query_norm", "cross_attn.layer_norm")
        entries += module(f"{ours}.feature_norm", "cross_attn.layer_norm_kv")
        for name in ("query", "key", "value"):
            entries += module(f"{ours}.{name}", f"cross_attn.{name[0]}_proj", "weight")
        for leaf in ("weight", "bias"):
            stacked = tuple(f"{ours}.attention.{name}.{leaf}" for name in ("query", "key", "value"))
            entries.append(Entry(theirs=f"cross_attn.multihead_attn.in_proj_{leaf}", ours=stacked))
        entries += module(f"{ours}.attention.out", "cross_attn.multihead_attn.out_proj")
    return tuple(entries)


def kosmos2(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Kosmos-2, the last norm of its encoder included."""
    return _kosmos(spec, "vision_model.model.post_layernorm", f"{_KOSMOS}.dense")


def kosmos2_5(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Kosmos-2.5."""
    return _kosmos(spec, f"{_KOSMOS}.dense")


def _kosmos(spec: ConnectorSpec, *names: str) -> tuple[Entry, ...]:
    entries = [*named(spec, *names)]
    for ours in _attentions(spec):
        entries.append(Entry(theirs=f"{_KOSMOS}.latent_query", ours=(f"{ours}.queries",)))
        for mine, other in {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}.items():
            entries += module(f"{ours}.attention.{mine}", f"{_KOSMOS}.x_attn.{other}")
    return tuple(entries)


def _attentions(spec: ConnectorSpec) -> list[str]:
    return [f"blocks.{index}" for index, block in enumerate(spec.blocks) if isinstance(block, CrossAttention)]
