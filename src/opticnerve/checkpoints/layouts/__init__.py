"""Published layouts: which tensor of a release is which of ours."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layouts import honeybee, mobilevlm, perceiver, qformer, resampler, sequential, token_packer
from opticnerve.connectors import ConnectorSpec

Layout = Callable[[ConnectorSpec], tuple[Entry, ...]]
"""Lists the published tensors of a connector whose widths are all resolved."""

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "blip2_hf": qformer.blip2_hf,
        "blip2_opt": qformer.blip2_opt,
        "blip2_t5": qformer.blip2_t5,
        "flamingo": perceiver.flamingo,
        "gemma3": sequential.gemma3,
        "honeybee_c_abs": honeybee.honeybee_c_abs,
        "honeybee_d_abs": honeybee.honeybee_d_abs,
        "honeybee_resampler": perceiver.honeybee_resampler,
        "idefics": perceiver.idefics,
        "idefics2": perceiver.idefics2,
        "idefics3": sequential.idefics3,
        "instructblip_hf": qformer.instructblip_hf,
        "instructblip_llm": qformer.instructblip_llm,
        "internvl": sequential.internvl,
        "internvl_hf": sequential.internvl_hf,
        "llama4": sequential.llama4,
        "llava_mlp": sequential.llava_mlp,
        "llava_pooler": sequential.llava_pooler,
        "llava_spatial_pool": sequential.llava_spatial_pool,
        "minicpm_v": resampler.minicpm_v,
        "minigpt_v2": sequential.minigpt_v2,
        "mobilevlm_v1": mobilevlm.mobilevlm_v1,
        "mobilevlm_v2": mobilevlm.mobilevlm_v2,
        "nanovlm": sequential.nanovlm,
        "pllava": sequential.pllava,
        "qwen_vl": resampler.qwen_vl,
        "qwen2_vl": sequential.qwen2_vl,
        "qwen3_vl": sequential.qwen3_vl,
        "token_packer": token_packer.token_packer,
        "vila": sequential.vila,
    }
)

__all__ = ["LAYOUTS", "Layout"]
