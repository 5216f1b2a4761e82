"""The parts that every connector is made of. Spec and module of a block live in one file."""

from collections.abc import Mapping
from types import MappingProxyType

from opticnerve.connectors.blocks.base import IN, LLM, VISION, Block, BlockSpec, Dim, TextBlock, TextTokens, Width
from opticnerve.connectors.blocks.conv import PEG, Downsample
from opticnerve.connectors.blocks.deformable import DeformableDecoder
from opticnerve.connectors.blocks.end_tokens import EndTokens
from opticnerve.connectors.blocks.fit_width import FitWidth
from opticnerve.connectors.blocks.frame_positions import FramePositions
from opticnerve.connectors.blocks.glu import GLU
from opticnerve.connectors.blocks.grid_positions import GridPositions
from opticnerve.connectors.blocks.inverted_residual import InvertedResidual
from opticnerve.connectors.blocks.linear import Activation, Linear, mlp
from opticnerve.connectors.blocks.merge import Merge, merge, unmerge
from opticnerve.connectors.blocks.norm import Norm
from opticnerve.connectors.blocks.perceiver import Perceiver
from opticnerve.connectors.blocks.pool import AdaptivePool, Pool
from opticnerve.connectors.blocks.qformer import QFormer
from opticnerve.connectors.blocks.reg_stage import RegStage
from opticnerve.connectors.blocks.region_attention import RegionAttention
from opticnerve.connectors.blocks.resampler import Resampler
from opticnerve.connectors.blocks.text_qformer import TextQFormer

BLOCKS: Mapping[str, type[BlockSpec]] = MappingProxyType(
    {
        block.kind: block
        for block in (
            Activation,
            AdaptivePool,
            DeformableDecoder,
            Downsample,
            EndTokens,
            FitWidth,
            FramePositions,
            GLU,
            GridPositions,
            InvertedResidual,
            Linear,
            Merge,
            Norm,
            PEG,
            Perceiver,
            Pool,
            QFormer,
            RegStage,
            RegionAttention,
            Resampler,
            TextQFormer,
        )
    }
)
"""Every block by its name in JSON."""

__all__ = [
    "BLOCKS",
    "GLU",
    "IN",
    "LLM",
    "PEG",
    "VISION",
    "Activation",
    "AdaptivePool",
    "Block",
    "BlockSpec",
    "DeformableDecoder",
    "Dim",
    "Downsample",
    "EndTokens",
    "FitWidth",
    "FramePositions",
    "GridPositions",
    "InvertedResidual",
    "Linear",
    "Merge",
    "Norm",
    "Perceiver",
    "Pool",
    "QFormer",
    "RegStage",
    "RegionAttention",
    "Resampler",
    "TextBlock",
    "TextQFormer",
    "TextTokens",
    "Width",
    "merge",
    "mlp",
    "unmerge",
]
