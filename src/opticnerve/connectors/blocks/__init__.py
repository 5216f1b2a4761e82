"""The parts that every connector is made of. Spec and module of a block live in one file."""

from collections.abc import Mapping
from types import MappingProxyType

from opticnerve.connectors.blocks.base import IN, LLM, VISION, Block, BlockSpec, Dim, TextBlock, TextTokens, Width
from opticnerve.connectors.blocks.conv import PEG, Downsample
from opticnerve.connectors.blocks.linear import Activation, Linear, mlp
from opticnerve.connectors.blocks.merge import Merge, merge, unmerge
from opticnerve.connectors.blocks.norm import Norm
from opticnerve.connectors.blocks.pool import AdaptivePool, Pool

BLOCKS: Mapping[str, type[BlockSpec]] = MappingProxyType(
    {
        block.kind: block
        for block in (
            Activation,
            AdaptivePool,
            Downsample,
            Linear,
            Merge,
            Norm,
            PEG,
            Pool,
        )
    }
)
"""Every block by its name in JSON."""

__all__ = [
    "BLOCKS",
    "IN",
    "LLM",
    "PEG",
    "VISION",
    "Activation",
    "AdaptivePool",
    "Block",
    "BlockSpec",
    "Dim",
    "Downsample",
    "Linear",
    "Merge",
    "Norm",
    "Pool",
    "TextBlock",
    "TextTokens",
    "Width",
    "merge",
    "mlp",
    "unmerge",
]
