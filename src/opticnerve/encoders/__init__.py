"""Vision encoders: pixels to features on a known grid."""

from opticnerve.encoders.base import Encoder, EncoderInfo
from opticnerve.encoders.block_order import blocks_from_raster, raster_from_blocks
from opticnerve.encoders.describe import build_encoder, describe_encoder
from opticnerve.encoders.levels import Layers
from opticnerve.encoders.load import Prefix, load_encoder, sketch_encoder
from opticnerve.encoders.normalisation import Normalisation
from opticnerve.encoders.weights import weights_sha256

__all__ = [
    "Encoder",
    "EncoderInfo",
    "Layers",
    "Normalisation",
    "Prefix",
    "blocks_from_raster",
    "build_encoder",
    "describe_encoder",
    "load_encoder",
    "raster_from_blocks",
    "sketch_encoder",
    "weights_sha256",
]
