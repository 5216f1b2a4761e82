"""Layouts of connectors that are written as one nn.Sequential or a few named Linears and norms."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from opticnerve.checkpoints.entries import Entry, module
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import Downsample, Linear, Norm
from opticnerve.errors import CheckpointError

T = TypeVar("T")


def weighted(spec: ConnectorSpec) -> list[tuple[int, str, tuple[str, ...]]]:
    """List the blocks that hold weights: index, the name of the module inside, and its tensors."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    for index, block in enumerate(spec.blocks):
        match block:
            case Linear():
                found.append((index, "linear", ("weight", "bias") if block.has_bias else ("weight",)))
            case Norm():
                if block.norm != "rms_no_scale":
                    found.append((index, "norm", ("weight", "bias") if block.norm == "layer" else ("weight",)))
            case Downsample():
                found.append((index, "conv", ("weight", "bias")))
            case _:
                pass
    return found


def numbered(spec: ConnectorSpec, *, prefix: str, offset: int) -> tuple[Entry, ...]:
    """Name each block by its place in a published nn.Sequential.

    Args:
        spec: the connector.
        prefix: the name of the Sequential, with its dot; may be empty.
        offset: added to our index of the block.
    """
    entries: list[Entry] = []
    for index, name, leaves in weighted(spec):
        entries += module(f"blocks.{index}.{name}", f"{prefix}{index + offset}", *leaves)
    return tuple(entries)


def named(spec: ConnectorSpec, *names: str) -> tuple[Entry, ...]:
    """Name the blocks that hold weights one by one, first to last.

    Raises:
        CheckpointError: there are more of them than names, or fewer.
    """
    entries: list[Entry] = []
    for (index, name, leaves), theirs in paired(weighted(spec), names):
        entries += module(f"blocks.{index}.{name}", theirs, *leaves)
    return tuple(entries)


def paired(blocks: Sequence[T], names: Sequence[str]) -> Iterator[tuple[T, str]]:
    """Go through blocks and their published names together.

    Raises:
        CheckpointError: there are more of the one than of the other.
    """
    if len(blocks) != len(names):
        raise CheckpointError(
            f"the layout names {len(names)} modules ({', '.join(names)}), but the connector has {len(blocks)}: build "
            f"the connector with the options of the checkpoint"
        )
    return zip(blocks, names, strict=True)


def llava_mlp(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """LLaVA's mm_projector: an mlpNx_gelu is numbered "0", "2", ...; a "linear" has no number."""
    return named(spec, "") if spec.name == "linear" else numbered(spec, prefix="", offset=0)


def internvl(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """InternVL's mlp1: the pixel shuffle in front is not part of the Sequential."""
    return numbered(spec, prefix="mlp1.", offset=-1)


def internvl_hf(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """InternVL in transformers."""
    return named(spec, "layer_norm", "linear_1", "linear_2")


def idefics3(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Idefics3's and SmolVLM's connector."""
    return named(spec, "modality_projection.proj")


def nanovlm(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """The modality projector of nanoVLM."""
    return named(spec, "proj")


def minigpt_v2(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """MiniGPT-v2's ln_vision and llama_proj."""
    return named(spec, "ln_vision", "llama_proj")


def gemma3(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Gemma 3's projector, whose matrix is (in, out)."""
    pairs = paired(weighted(spec), ("mm_soft_emb_norm", "mm_input_projection"))
    norm, linear = (index for (index, _, _), _ in pairs)
    return (
        Entry(theirs="mm_soft_emb_norm.weight", ours=(f"blocks.{norm}.norm.weight",)),
        Entry(theirs="mm_input_projection_weight", ours=(f"blocks.{linear}.linear.weight",), is_transposed=True),
    )


def pllava(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """PLLaVA's and transformers' LLaVA's projector."""
    return named(spec, "linear_1", "linear_2")


def llava_pooler(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """LLaVA-NeXT's PoolerProjector."""
    return named(spec, "conv_pool", "proj.1")


def llava_spatial_pool(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """LLaVA-NeXT's SpatialPool; only its convolution holds weights."""
    return named(spec, *["pool"] * len(weighted(spec)))
