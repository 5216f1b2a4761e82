"""The published methods, one a file: functions with the paper's defaults that return a connector spec."""

from opticnerve.connectors.methods.concat_mlp import concat_mlp
from opticnerve.connectors.methods.concat_strip import concat_strip
from opticnerve.connectors.methods.linear import linear
from opticnerve.connectors.methods.mlp import mlp
from opticnerve.connectors.methods.pixel_shuffle import pixel_shuffle
from opticnerve.connectors.methods.pool import pool

__all__ = [
    "concat_mlp",
    "concat_strip",
    "linear",
    "mlp",
    "pixel_shuffle",
    "pool",
]
