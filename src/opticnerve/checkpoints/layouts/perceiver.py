"""Layouts of perceiver resamplers, without the prefix of the model: OpenFlamingo, Evolla, Idefics 1 and 2, Honeybee."""

from collections.abc import Iterator, Mapping

from opticnerve.checkpoints.entries import Entry, module
from opticnerve.checkpoints.layouts.sequential import paired
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import (
    GLU,
    BlockSpec,
    EndTokens,
    FramePositions,
    GridPositions,
    Linear,
    Norm,
    Perceiver,
)


def flamingo(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """OpenFlamingo's perceiver; keys and values are one tensor."""
    entries: list[Entry] = []
    for ours, block in _blocks(spec):
        match block:
            case FramePositions():
                entries.append(Entry(theirs="frame_embs", ours=(f"{ours}.table",)))
            case Perceiver():
                entries += [Entry(theirs="latents", ours=(f"{ours}.latents",)), *module(f"{ours}.norm", "norm")]
                entries += _key_value_layers(ours, block, norm="0", up="1", down="3")
            case _:
                pass
    return tuple(entries)


def evolla(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Evolla's compressor of proteins; keys and values are one tensor."""
    entries: list[Entry] = []
    for ours, block in _blocks(spec):
        match block:
            case Linear():
                entries += module(f"{ours}.linear", "protein_projector")
            case Norm():
                entries += module(f"{ours}.norm", "norm")
            case Perceiver():
                entries.append(Entry(theirs="latents", ours=(f"{ours}.latents",)))
                entries += _key_value_layers(ours, block, norm="norm", up="fc1", down="fc2")
            case _:
                pass
    return tuple(entries)


def idefics(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """The perceiver resampler of Idefics in transformers."""
    linears = {name: f"0.{name[0]}_proj" for name in ("query", "key", "value")} | {"out": "0.output_proj"}
    entries: list[Entry] = []
    for ours, block in _blocks(spec):
        if not isinstance(block, Perceiver):
            continue
        entries += [Entry(theirs="latents", ours=(f"{ours}.latents",)), *module(f"{ours}.norm", "layer_norm")]
        for mine, number in _layers(ours, block):
            theirs = f"blocks.{number}"
            entries += _norms(mine, theirs, {"feature_norm": "0.context_layer_norm", "feed_forward_norm": "1.ln"})
            entries += _norms(mine, theirs, {"latent_norm": "0.latents_layer_norm"})
            if block.has_qk_norm:
                heads = {"query_norm": "0.q_layer_norm", "key_norm": "0.k_layer_norm"}
                entries += _norms(f"{mine}.attention", theirs, heads)
            entries += _weights(f"{mine}.attention", theirs, linears)
            entries += _weights(f"{mine}.feed_forward", theirs, {"up": "1.fc", "down": "1.c_proj"})
    return tuple(entries)


def idefics2(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """The connector of Idefics2 in transformers."""
    gated = {name: f"{name}_proj" for name in ("gate", "up", "down")}
    linears = {name: f"self_attn.{name[0]}_proj" for name in ("query", "key", "value", "out")}
    norms = {
        "latent_norm": "input_latents_norm",
        "feature_norm": "input_context_norm",
        "feed_forward_norm": "post_attention_layernorm",
    }
    entries: list[Entry] = []
    for ours, block in _blocks(spec):
        match block:
            case GLU():
                entries += _weights(f"{ours}.glu", "modality_projection", gated)
            case Perceiver():
                theirs = "perceiver_resampler"
                entries.append(Entry(theirs=f"{theirs}.latents", ours=(f"{ours}.latents",)))
                entries += _weights(ours, theirs, {"norm": "norm"})
                for mine, number in _layers(ours, block):
                    layer = f"{theirs}.layers.{number}"
                    entries += _weights(mine, layer, norms)
                    entries += _weights(f"{mine}.attention", layer, linears)
                    entries += _weights(f"{mine}.feed_forward", f"{layer}.mlp", gated)
            case _:
                pass
    return tuple(entries)


def honeybee_resampler(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Honeybee's resampler, without the prefix abstractor."""
    modules = {
        "latent_norm": "norm1",
        "feature_norm": "normk",
        **{f"attention.{name}": f"attention.{name}" for name in ("query", "key", "value")},
        "attention.out": "output.out_proj",
        "feed_forward_norm": "output.norm2",
        "feed_forward.gate": "output.mlp.w1",
        "feed_forward.up": "output.mlp.w3",
        "feed_forward.norm": "output.mlp.ffn_ln",
        "feed_forward.down": "output.mlp.w2",
    }
    entries: list[Entry] = []
    linears = [ours for ours, block in _blocks(spec) if isinstance(block, Linear)]
    for ours, theirs in paired(linears, ("visual_input_fc", "visual_output_fc")):
        entries += module(f"{ours}.linear", theirs)
    for ours, block in _blocks(spec):
        match block:
            case GridPositions():
                entries.append(Entry(theirs="pos_emb", ours=(f"{ours}.table",), shape=(1, block.rows * block.cols, -1)))
            case Perceiver():
                shape = (1, block.num_latents, -1)
                entries.append(Entry(theirs="query_tokens", ours=(f"{ours}.latents",), shape=shape))
                for mine, number in _layers(ours, block):
                    entries += _norms(mine, f"encoder.layers.{number}.crossattention", modules)
            case EndTokens():
                entries.append(Entry(theirs="vit_eos", ours=(f"{ours}.tokens",), shape=(1, block.num, -1)))
            case _:
                pass
    return tuple(entries)


def _key_value_layers(ours: str, block: Perceiver, *, norm: str, up: str, down: str) -> list[Entry]:
    """List the layers of Flamingo's perceiver; the feed-forward network is named differently in each code base."""
    entries: list[Entry] = []
    for mine, number in _layers(ours, block):
        attention, theirs = f"{mine}.attention", f"layers.{number}"
        key_value = (f"{attention}.key.weight", f"{attention}.value.weight")
        entries.append(Entry(theirs=f"{theirs}.0.to_kv.weight", ours=key_value))
        entries += _norms(mine, theirs, {"feature_norm": "0.norm_media", "latent_norm": "0.norm_latents"})
        entries += _norms(mine, theirs, {"feed_forward_norm": f"1.{norm}"})
        entries += _weights(mine, theirs, {"attention.query": "0.to_q", "attention.out": "0.to_out"})
        entries += _weights(mine, theirs, {"feed_forward.up": f"1.{up}", "feed_forward.down": f"1.{down}"})
    return entries


def _blocks(spec: ConnectorSpec) -> Iterator[tuple[str, BlockSpec]]:
    return ((f"blocks.{index}", block) for index, block in enumerate(spec.blocks))


def _layers(ours: str, block: Perceiver) -> Iterator[tuple[str, int]]:
    return ((f"{ours}.layers.{number}", number) for number in range(block.depth))


def _norms(ours: str, theirs: str, names: Mapping[str, str]) -> list[Entry]:
    """List modules that have a weight and a bias, by our name."""
    return [entry for name, other in names.items() for entry in module(f"{ours}.{name}", f"{theirs}.{other}")]


def _weights(ours: str, theirs: str, names: Mapping[str, str]) -> list[Entry]:
    """List modules that have a weight alone, by our name."""
    return [entry for name, other in names.items() for entry in module(f"{ours}.{name}", f"{theirs}.{other}", "weight")]
