"""Several scales of one image: S2 around any encoder, and the feature side of NVILA's dynamic S2."""

from opticnerve.multiscale.dynamic_s2 import DynamicS2, TileGrids, dynamic_tile_grids
from opticnerve.multiscale.s2 import S2, View
from opticnerve.multiscale.s2_encoder import S2Encoder, TokenEncoder
from opticnerve.multiscale.s2_forward import s2_features, s2_maps

__all__ = [
    "S2",
    "DynamicS2",
    "S2Encoder",
    "TileGrids",
    "TokenEncoder",
    "View",
    "dynamic_tile_grids",
    "s2_features",
    "s2_maps",
]
