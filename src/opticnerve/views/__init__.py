"""How images are seen: a tiling, an encoder and its scales in a row, up to the features that a connector takes.

tiled = ViewSettings(tiling="internvl").load()
features = tiled.encode(image)
features.batches                            # (tiles, positions, dim) for each size of tile
"""

from opticnerve.views.batch import collate_views, encode_views
from opticnerve.views.fit import fitting_layers, fitting_method, fitting_tiling
from opticnerve.views.join import join
from opticnerve.views.settings import ViewSettings
from opticnerve.views.sight import Sight
from opticnerve.views.tiled_encoder import Features, TiledEncoder, eye

__all__ = [
    "Features",
    "Sight",
    "TiledEncoder",
    "ViewSettings",
    "collate_views",
    "encode_views",
    "eye",
    "fitting_layers",
    "fitting_method",
    "fitting_tiling",
    "join",
]
