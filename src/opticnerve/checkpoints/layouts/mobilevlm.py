"""Layouts of MobileVLM's projectors, without the prefix model.mm_projector."""

from opticnerve.checkpoints.entries import Entry, module
from opticnerve.checkpoints.layouts.sequential import paired
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import PEG, InvertedResidual, Linear


def mobilevlm_v1(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """MobileVLM's LDPNetProjector (mm_projector_type ldpnet)."""
    entries: list[Entry] = []
    for index, theirs in paired(_places(spec, Linear), ("model.mlp.1", "model.mlp.3")):
        entries += module(f"blocks.{index}.linear", theirs)
    for number, index in enumerate(_places(spec, InvertedResidual), start=1):
        ours, theirs = f"blocks.{index}", f"model.mb_block.{number}.block"
        entries += module(f"{ours}.depthwise", f"{theirs}.0.0", "weight")
        entries += module(f"{ours}.depthwise_norm", f"{theirs}.0.1")
        entries += module(f"{ours}.scale.squeeze", f"{theirs}.1.fc1")
        entries += module(f"{ours}.scale.excite", f"{theirs}.1.fc2")
        entries += module(f"{ours}.pointwise", f"{theirs}.2.0", "weight")
        entries += module(f"{ours}.pointwise_norm", f"{theirs}.2.1")
    return tuple(entries)


def mobilevlm_v2(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """MobileVLM V2's LDPNetV2Projector (mm_projector_type ldpnetv2)."""
    entries: list[Entry] = []
    for index, theirs in paired(_places(spec, Linear), ("mlp.mlp.0", "mlp.mlp.2")):
        entries += module(f"blocks.{index}.linear", theirs)
    for index in _places(spec, PEG):
        entries += module(f"blocks.{index}.conv", "peg.peg.0")
    return tuple(entries)


def _places(spec: ConnectorSpec, kind: type) -> list[int]:
    return [index for index, block in enumerate(spec.blocks) if isinstance(block, kind)]
