"""Small networks with random weights, and their costs: what whole layers reach is measured on them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from opticnerve.planner.calibrate.machine import TORCH_DTYPES, Machine
from opticnerve.planner.device import DType
from opticnerve.planner.llm_config import read_llm
from opticnerve.planner.vit import read_vit

Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A network that is ready to run, with its cost."""

    run: Callable[[], object]
    flops: int
    num_layers: int


def vit_settings(*, dim: int, depth: int, image_px: int, patch_px: int = 16) -> Settings:
    """Return settings of a SigLIP encoder.

    Args:
        dim: channels, 64 a head.
        depth: layers.
        image_px: side of an image.
        patch_px: side of a patch.
    """
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": dim,
        "intermediate_size": 4 * dim,
        "num_hidden_layers": depth,
        "num_attention_heads": max(dim // 64, 1),
        "num_channels": 3,
        "image_size": image_px,
        "patch_size": patch_px,
        "vision_use_head": False,
    }


def llm_settings(*, dim: int, depth: int, mlp_dim: int, kv_heads: int) -> Settings:
    """Return settings of a Llama with few words.

    Args:
        dim: channels, 64 a head.
        depth: layers.
        mlp_dim: channels in the middle of its feed-forward.
        kv_heads: heads of keys and values.
    """
    return {
        "model_type": "llama",
        "hidden_size": dim,
        "intermediate_size": mlp_dim,
        "num_hidden_layers": depth,
        "num_attention_heads": max(dim // 64, 1),
        "num_key_value_heads": kv_heads,
        "vocab_size": 1024,
        "tie_word_embeddings": True,
    }


def vit(settings: Settings, machine: Machine, dtype: DType = "fp32", *, images: int = 1) -> Network:
    """Build an encoder with random weights.

    Args:
        settings: as config.json has them.
        machine: where it runs.
        dtype: of weights and pixels.
        images: that are encoded at once.
    """
    from transformers import AutoModel

    side = int(settings["image_size"])
    module = build(AutoModel, settings, machine, dtype)
    pixels = torch.ones(images, 3, side, side, dtype=TORCH_DTYPES[dtype], device=machine.kind)
    costs = read_vit(settings, name="a random encoder")
    return Network(
        run=lambda: module(pixel_values=pixels),
        flops=images * costs.flops(side, side),
        num_layers=costs.num_layers,
    )


def llm(settings: Settings, machine: Machine, dtype: DType = "fp32", *, tokens: int) -> Network:
    """Build a language model with random weights, for a prefill.

    Args:
        settings: as config.json has them.
        machine: where it runs.
        dtype: of weights and embeddings.
        tokens: of the prompt.
    """
    from transformers import AutoModelForCausalLM

    module = build(AutoModelForCausalLM, settings, machine, dtype)
    prompt = torch.ones(1, tokens, int(settings["hidden_size"]), dtype=TORCH_DTYPES[dtype], device=machine.kind)
    costs = read_llm(settings, name="a random LLM")
    return Network(run=lambda: prefill(module, prompt), flops=costs.flops(new=tokens), num_layers=len(costs.layers))


def prefill(module: nn.Module, prompt: Tensor) -> object:
    """Read a prompt as generation does: with a cache, and scores of the last token only.

    Args:
        module: a causal LLM of transformers.
        prompt: embeddings.
    """
    return module(inputs_embeds=prompt, use_cache=True, logits_to_keep=1)


def build(auto: Any, settings: Settings, machine: Machine, dtype: DType) -> nn.Module:  # noqa: ANN401
    """Build a model of transformers with random weights; torch's own generator is left as it was.

    Args:
        auto: the class that picks the model by its config.
        settings: as config.json has them.
        machine: where it will run.
        dtype: of the weights.
    """
    from transformers import AutoConfig

    with torch.random.fork_rng(devices=[]):
        config = cast("Any", AutoConfig).for_model(**settings)
        module = cast("nn.Module", auto.from_config(config, dtype=TORCH_DTYPES[dtype]))
    return module.eval().to(machine.kind)
