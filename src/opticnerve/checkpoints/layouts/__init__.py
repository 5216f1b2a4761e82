"""Published layouts: which tensor of a release is which of ours."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layouts import sequential
from opticnerve.connectors import ConnectorSpec

Layout = Callable[[ConnectorSpec], tuple[Entry, ...]]
"""Lists the published tensors of a connector."""

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "gemma3": sequential.gemma3,
        "idefics3": sequential.idefics3,
        "internvl": sequential.internvl,
        "internvl_hf": sequential.internvl_hf,
        "llama4": sequential.llama4,
        "llava_mlp": sequential.llava_mlp,
        "llava_pooler": sequential.llava_pooler,
        "llava_spatial_pool": sequential.llava_spatial_pool,
        "minigpt_v2": sequential.minigpt_v2,
        "nanovlm": sequential.nanovlm,
        "pllava": sequential.pllava,
        "qwen2_vl": sequential.qwen2_vl,
        "qwen3_vl": sequential.qwen3_vl,
        "vila": sequential.vila,
    }
)

__all__ = ["LAYOUTS", "Layout"]
