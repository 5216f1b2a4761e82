"""Layouts of Honeybee's abstractors, without the prefix abstractor."""

from opticnerve.checkpoints.entries import Entry, module
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import (
    DeformableDecoder,
    EndTokens,
    FitWidth,
    GridPositions,
    Linear,
    Norm,
    RegStage,
)


def honeybee_c_abs(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Honeybee's CAbstractor."""
    entries: list[Entry] = []
    num_stages = num_linears = 0
    for index, block in enumerate(spec.blocks):
        ours = f"blocks.{index}"
        match block:
            case Norm():
                entries += module(f"{ours}.norm", "prenorm")
            case RegStage():
                entries += _stage(block, ours=ours, theirs=f"net.{2 * num_stages}")
                num_stages += 1
            case Linear():
                entries += module(f"{ours}.linear", f"readout.{2 * num_linears}")
                num_linears += 1
            case GridPositions():
                entries.append(Entry(theirs="pos_emb", ours=(f"{ours}.table",), shape=(1, block.rows * block.cols, -1)))
            case EndTokens():
                entries.append(Entry(theirs="eos_tokens", ours=(f"{ours}.tokens",), shape=(1, block.num, -1)))
            case _:
                pass
    return tuple(entries)


def honeybee_d_abs(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Honeybee's DAbstractor."""
    entries: list[Entry] = []
    for index, block in enumerate(spec.blocks):
        ours = f"blocks.{index}"
        match block:
            case FitWidth():
                if block.has_weights:
                    entries += module(f"{ours}.linear", "output_proj" if index else "input_proj.0")
            case GridPositions():
                shape = (1, block.rows * block.cols, -1)
                entries.append(Entry(theirs="v_pos_emb", ours=(f"{ours}.table",), shape=shape))
            case DeformableDecoder():
                entries.append(Entry(theirs="query_position_embeddings.weight", ours=(f"{ours}.queries",)))
                entries.append(Entry(theirs="reference_points", ours=(f"{ours}.points",)))
                for layer in range(block.num_layers):
                    entries += _layer(ours=f"{ours}.layers.{layer}", theirs=f"layers.{layer}")
            case EndTokens():
                entries.append(Entry(theirs="eos_tokens", ours=(f"{ours}.tokens",), shape=(1, block.num, -1)))
            case _:
                pass
    return tuple(entries)


def _stage(block: RegStage, *, ours: str, theirs: str) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(block.depth):
        mine, other = f"{ours}.stages.{number}", f"{theirs}.b{number + 1}"
        names = [("enter", "conv1"), ("depthwise", "conv2"), ("leave", "conv3")]
        if number == 0 and block.has_projected_shortcut:
            names.append(("shortcut", "downsample"))
        for name, conv in names:
            entries += module(f"{mine}.{name}", f"{other}.{conv}.conv", "weight")
            entries += module(f"{mine}.{name}_norm", f"{other}.{conv}.bn")
        entries += module(f"{mine}.scale.squeeze", f"{other}.se.fc1")
        entries += module(f"{mine}.scale.excite", f"{other}.se.fc2")
    return entries


def _layer(*, ours: str, theirs: str) -> list[Entry]:
    names = {
        "talk.query": "self_attn.q_proj",
        "talk.key": "self_attn.k_proj",
        "talk.value": "self_attn.v_proj",
        "talk.out": "self_attn.out_proj",
        "talk_norm": "self_attn_layer_norm",
        "look.offsets": "encoder_attn.sampling_offsets",
        "look.weights": "encoder_attn.attention_weights",
        "look.value_proj": "encoder_attn.value_proj",
        "look.out_proj": "encoder_attn.output_proj",
        "look_norm": "encoder_attn_layer_norm",
        "think.up": "fc1",
        "think.down": "fc2",
        "think_norm": "final_layer_norm",
    }
    return [entry for name, other in names.items() for entry in module(f"{ours}.{name}", f"{theirs}.{other}")]
