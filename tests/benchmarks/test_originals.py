"""The originals that benchmarks compare with give what the reference implementations gave, on the golden folder."""

from collections.abc import Callable, Mapping
from math import isqrt

import original_resamplers
import originals
import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from parity import s2_cases
from parity.golden import Case, assert_close, tensor_cases

Runner = Callable[[Case], Tensor]


def loaded(module: nn.Module, case: Case) -> nn.Module:
    module.load_state_dict(case.weights)
    return module.eval()


def get_2d_pool(case: Case) -> Tensor:
    return originals.get_2d_pool(case.tensors["input"], mode=case.config["mode"], stride=case.config["stride"])


def ldpv2(case: Case) -> Tensor:
    dims = {"vision_dim": case.config["vision_dim"], "llm_dim": case.config["llm_dim"]}
    return loaded(originals.LDPv2(**dims), case)(case.tensors["input"])


def pllava(case: Case) -> Tensor:
    config = case.config
    module = originals.PLLaVA(
        vision_dim=config["vision_dim"], llm_dim=config["llm_dim"], pooling_shape=tuple(config["pooling_shape"])
    )
    return loaded(module, case)(case.tensors["input"])


def qwen2_vl(case: Case) -> Tensor:
    dims = {"vision_dim": case.config["vision_dim"], "llm_dim": case.config["llm_dim"]}
    return loaded(originals.Qwen2VLMerger(**dims), case)(case.tensors["input"])


def internvl(case: Case) -> Tensor:
    dims = {"vision_dim": case.config["vision_dim"], "llm_dim": case.config["llm_dim"]}
    return loaded(originals.InternVL(**dims), case)(case.tensors["input"])


def qwen_vl(case: Case) -> Tensor:
    config = case.config
    module = original_resamplers.QwenVL(
        num_queries=config["num_queries"],
        vision_dim=config["vision_dim"],
        dim=config["embed_dim"],
        num_heads=config["num_heads"],
        eps=config["ln_eps"],
    )
    return loaded(module, case)(case.tensors["input"])


def minicpm(case: Case) -> Tensor:
    config = case.config
    module = original_resamplers.MiniCPM(
        num_queries=config["num_queries"],
        vision_dim=config["vision_dim"],
        dim=config["embed_dim"],
        num_heads=config["num_heads"],
        eps=config["ln_eps"],
    )
    return loaded(module, case)(case.tensors["input"], case.tensors["tgt_sizes"])


def blip2(case: Case) -> Tensor:
    config = case.config
    module = original_resamplers.Blip2(
        vision_dim=config["vision_dim"],
        llm_dim=config["llm_dim"],
        num_queries=config["num_queries"],
        dim=config["hidden_size"],
        num_layers=config["num_layers"],
        num_heads=config["num_heads"],
        ffn_dim=config["intermediate_size"],
        freq=config["cross_attention_freq"],
    )
    return loaded(module, case)(case.tensors["input"])


RUNNERS: Mapping[str, Runner] = {
    "blip2_qformer_lavis": blip2,
    "internvl_pixel_shuffle": internvl,
    "llava_get_2dPool": get_2d_pool,
    "minicpmv26_resampler": minicpm,
    "mobilevlm_ldpv2": ldpv2,
    "pllava_projector": pllava,
    "qwen2_vl_patch_merger": qwen2_vl,
    "qwen_vl_resampler": qwen_vl,
}


def can_run(case: Case) -> bool:
    """Whether the case is of the version that is measured."""
    if case.method == "internvl_pixel_shuffle":
        return case.config["ps_version"] == "v2" and case.config["scale_factor"] == 0.5
    if case.method == "mobilevlm_ldpv2":
        rows, cols = case.grid_of()
        return rows == cols
    return case.method in RUNNERS and case.config.get("media_type", "video") == "video"


@pytest.mark.parametrize(
    "case", [case for case in tensor_cases() if can_run(case)], ids=lambda case: case.file.removesuffix(".safetensors")
)
@torch.no_grad()
def test_the_original_gives_the_recorded_output(case: Case) -> None:
    assert_close(RUNNERS[case.method](case), case.outputs["output"])


def test_every_original_has_a_recorded_case() -> None:
    assert {case.method for case in tensor_cases() if can_run(case)} == RUNNERS.keys()


@torch.no_grad()
def test_llava_onevision_is_its_recorded_projector_and_then_its_recorded_pool() -> None:
    (case,) = (case for case in tensor_cases() if case.file == "llava_mlp2x_gelu.safetensors")
    vision_dim, llm_dim = case.config["vision_dim"], case.config["llm_dim"]
    module = loaded(originals.LlavaOneVision(vision_dim=vision_dim, llm_dim=llm_dim), case)
    want = originals.get_2d_pool(case.outputs["output"], mode="bilinear")
    assert want.shape[1] == isqrt(case.config["num_tokens"]) ** 2 / 4
    assert_close(module(case.tensors["input"]), want)


class WithStates(nn.Module):
    """An encoder in the manner of transformers."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.encoder(pixels))


@torch.no_grad()
def test_s2_gives_the_recorded_output() -> None:
    (case,) = (case for case in tensor_cases() if case.file == "s2wrapper__1x2x_bnc.safetensors")
    config = case.config["model"]
    encoder = s2_cases.TinyEncoder(case.weights, patch=config["patch"], num_prefix=0, bchw=False)
    module = originals.S2Wrapper(WithStates(encoder), scales=tuple(case.config["forward_kwargs"]["scales"]))
    assert_close(module(case.tensors["input"]), case.outputs["output"])
