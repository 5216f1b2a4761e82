"""From the size of an image to the tiles that an encoder sees, and back to one sequence of tokens.

plan = InternVLTiling().plan(600, 800)      # height, width
batches = apply(plan, image)                # uint8 tiles, in encoder order
places = [spec.out_grid(grid) for grid in plan.token_grids(14)]
plan.num_tokens(places)                     # known before anything runs
"""

from opticnerve.tiling.anyres import LLAVA_NEXT_PINPOINTS, AnyResTiling
from opticnerve.tiling.budget import fit_tiles, fit_tokens
from opticnerve.tiling.canvas import Box, Canvas, Role, stretched
from opticnerve.tiling.dynamic_s2 import DynamicS2Tiling
from opticnerve.tiling.idefics3 import Idefics3Tiling
from opticnerve.tiling.internvl import InternVLTiling
from opticnerve.tiling.minicpm import MiniCPMTiling
from opticnerve.tiling.pack import pack
from opticnerve.tiling.packing import Merge, Packing
from opticnerve.tiling.pinpoints import parse_pinpoints
from opticnerve.tiling.pixels import apply, resize, untile
from opticnerve.tiling.pixtral import PixtralTiling
from opticnerve.tiling.plain import PlainTiling
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.qwen import QwenTiling
from opticnerve.tiling.registry import TILINGS, tiling, tiling_from_dict
from opticnerve.tiling.spec import Tiling
from opticnerve.tiling.split import split, stitch
from opticnerve.tiling.tokenpacker_hd import TokenPackerHDTiling

__all__ = [
    "LLAVA_NEXT_PINPOINTS",
    "TILINGS",
    "AnyResTiling",
    "Box",
    "Canvas",
    "DynamicS2Tiling",
    "Idefics3Tiling",
    "InternVLTiling",
    "Merge",
    "MiniCPMTiling",
    "Packing",
    "PixtralTiling",
    "PlainTiling",
    "QwenTiling",
    "Role",
    "TilePlan",
    "Tiling",
    "TokenPackerHDTiling",
    "apply",
    "fit_tiles",
    "fit_tokens",
    "pack",
    "parse_pinpoints",
    "resize",
    "split",
    "stitch",
    "stretched",
    "tiling",
    "tiling_from_dict",
    "untile",
]
