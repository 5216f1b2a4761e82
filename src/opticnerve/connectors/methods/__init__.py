"""The published methods, one a file: functions with the paper's defaults that return a connector spec."""

from opticnerve.connectors.methods.c_abstractor import c_abstractor
from opticnerve.connectors.methods.concat_mlp import concat_mlp
from opticnerve.connectors.methods.concat_strip import concat_strip
from opticnerve.connectors.methods.d_abstractor import d_abstractor
from opticnerve.connectors.methods.divprune import divprune
from opticnerve.connectors.methods.every_kth import every_kth
from opticnerve.connectors.methods.farthest_point import farthest_point
from opticnerve.connectors.methods.ldp import ldp
from opticnerve.connectors.methods.ldpv2 import ldpv2
from opticnerve.connectors.methods.linear import linear
from opticnerve.connectors.methods.minicpm_resampler import minicpm_resampler
from opticnerve.connectors.methods.mlp import mlp
from opticnerve.connectors.methods.perceiver import perceiver
from opticnerve.connectors.methods.pixel_shuffle import pixel_shuffle
from opticnerve.connectors.methods.pool import pool
from opticnerve.connectors.methods.prumerge import prumerge
from opticnerve.connectors.methods.qformer import qformer
from opticnerve.connectors.methods.qwen_vl_resampler import qwen_vl_resampler
from opticnerve.connectors.methods.random_patches import random_patches
from opticnerve.connectors.methods.token_packer import token_packer
from opticnerve.connectors.methods.tome import tome

__all__ = [
    "c_abstractor",
    "concat_mlp",
    "concat_strip",
    "d_abstractor",
    "divprune",
    "every_kth",
    "farthest_point",
    "ldp",
    "ldpv2",
    "linear",
    "minicpm_resampler",
    "mlp",
    "perceiver",
    "pixel_shuffle",
    "pool",
    "prumerge",
    "qformer",
    "qwen_vl_resampler",
    "random_patches",
    "token_packer",
    "tome",
]
