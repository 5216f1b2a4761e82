"""The parts that every connector is made of. Spec and module of a block live in one file."""

from collections.abc import Mapping
from types import MappingProxyType

from opticnerve.connectors.blocks.attended_merging import AttendedMerging
from opticnerve.connectors.blocks.base import IN, LLM, VISION, Block, BlockSpec, Dim, TextBlock, TextTokens, Width
from opticnerve.connectors.blocks.begin_tokens import BeginTokens
from opticnerve.connectors.blocks.branches import Branches
from opticnerve.connectors.blocks.codebook import Codebook, NearestCode
from opticnerve.connectors.blocks.conv import PEG, Downsample
from opticnerve.connectors.blocks.cross_attention import CrossAttention
from opticnerve.connectors.blocks.deformable import DeformableDecoder
from opticnerve.connectors.blocks.diverse_selection import DiverseSelection
from opticnerve.connectors.blocks.end_tokens import EndTokens
from opticnerve.connectors.blocks.farthest_point import FarthestPoint
from opticnerve.connectors.blocks.fit_width import FitWidth
from opticnerve.connectors.blocks.fixed_selection import EveryKth, RandomPatches
from opticnerve.connectors.blocks.frame_mean import FrameMean
from opticnerve.connectors.blocks.frame_positions import FramePositions
from opticnerve.connectors.blocks.frame_waves import FrameWaves
from opticnerve.connectors.blocks.glu import GLU
from opticnerve.connectors.blocks.grid_positions import GridPositions
from opticnerve.connectors.blocks.inverted_residual import InvertedResidual
from opticnerve.connectors.blocks.linear import Activation, Linear, mlp
from opticnerve.connectors.blocks.merge import Merge, merge, unmerge
from opticnerve.connectors.blocks.merge_frames import MergeFrames
from opticnerve.connectors.blocks.norm import Norm
from opticnerve.connectors.blocks.patch_positions import PatchPositions
from opticnerve.connectors.blocks.perceiver import Perceiver
from opticnerve.connectors.blocks.pool import AdaptivePool, Pool
from opticnerve.connectors.blocks.qformer import QFormer
from opticnerve.connectors.blocks.reduction import Reduction
from opticnerve.connectors.blocks.reg_stage import RegStage
from opticnerve.connectors.blocks.region_attention import RegionAttention
from opticnerve.connectors.blocks.resampler import Resampler
from opticnerve.connectors.blocks.row_tokens import RowTokens
from opticnerve.connectors.blocks.scale import Scale
from opticnerve.connectors.blocks.sincos_positions import SincosPositions
from opticnerve.connectors.blocks.standardise import Standardise
from opticnerve.connectors.blocks.strided_conv import StridedConv
from opticnerve.connectors.blocks.text_qformer import TextQFormer
from opticnerve.connectors.blocks.token_merging import TokenMerging
from opticnerve.connectors.blocks.window_attention import WindowAttention
from opticnerve.connectors.blocks.window_qformer import WindowQFormer

BLOCKS: Mapping[str, type[BlockSpec]] = MappingProxyType(
    {
        block.kind: block
        for block in (
            Activation,
            AdaptivePool,
            AttendedMerging,
            BeginTokens,
            Branches,
            Codebook,
            CrossAttention,
            DeformableDecoder,
            DiverseSelection,
            Downsample,
            EndTokens,
            EveryKth,
            FarthestPoint,
            FitWidth,
            FrameMean,
            FramePositions,
            FrameWaves,
            GLU,
            GridPositions,
            InvertedResidual,
            Linear,
            Merge,
            MergeFrames,
            NearestCode,
            Norm,
            PEG,
            PatchPositions,
            Perceiver,
            Pool,
            QFormer,
            RandomPatches,
            RegStage,
            RegionAttention,
            Resampler,
            RowTokens,
            Scale,
            SincosPositions,
            Standardise,
            StridedConv,
            TextQFormer,
            TokenMerging,
            WindowAttention,
            WindowQFormer,
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
    "AttendedMerging",
    "BeginTokens",
    "Block",
    "BlockSpec",
    "Branches",
    "Codebook",
    "CrossAttention",
    "DeformableDecoder",
    "Dim",
    "DiverseSelection",
    "Downsample",
    "EndTokens",
    "EveryKth",
    "FarthestPoint",
    "FitWidth",
    "FrameMean",
    "FramePositions",
    "FrameWaves",
    "GridPositions",
    "InvertedResidual",
    "Linear",
    "Merge",
    "MergeFrames",
    "NearestCode",
    "Norm",
    "PatchPositions",
    "Perceiver",
    "Pool",
    "QFormer",
    "RandomPatches",
    "Reduction",
    "RegStage",
    "RegionAttention",
    "Resampler",
    "RowTokens",
    "Scale",
    "SincosPositions",
    "Standardise",
    "StridedConv",
    "TextBlock",
    "TextQFormer",
    "TextTokens",
    "TokenMerging",
    "Width",
    "WindowAttention",
    "WindowQFormer",
    "merge",
    "mlp",
    "unmerge",
]
