"""Small parts for the planner's tests: no catalogue, no file."""

from typing import Any

from opticnerve.connectors import method
from opticnerve.planner.device import Device
from opticnerve.planner.llm import LLM
from opticnerve.planner.llm_config import read_llm
from opticnerve.planner.lookup import find_encoder
from opticnerve.planner.model import Separators, VisionLanguageModel
from opticnerve.planner.ranges import Range
from opticnerve.views import Sight
from opticnerve.views.fit import fitting_tiling

SETTINGS: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 768,
    "vocab_size": 1000,
    "tie_word_embeddings": True,
}
MOE: dict[str, Any] = {
    **SETTINGS,
    "model_type": "qwen3_moe",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
}


def llm(**changes: object) -> LLM:
    """Return a language model of four layers."""
    return read_llm({**SETTINGS, **changes}, name="small")


def device(**changes: object) -> Device:
    """Return a device of round numbers: a TFLOP/s, 100 GB/s, 8 GB, all of it reached."""
    whole = Range(low=1, high=1)
    facts: dict[str, Any] = {
        "name": "round",
        "title": "A device of round numbers",
        "flops": {"fp32": 1e12, "bf16": 1e12},
        "bandwidth": 1e11,
        "memory_bytes": 8 * 10**9,
        "compute": whole,
        "movement": whole,
        "layer_us": Range(low=0, high=0),
        "decode_ms": Range(low=8, high=8),
        "resize_ms": Range(low=2, high=2),
        "source": "none",
        "date": "2026-11-22",
    }
    return Device(**{**facts, **changes})


def model(
    name: str = "pixel_shuffle",
    *,
    tiling: str = "internvl",
    language: LLM | None = None,
    scales: tuple[float, ...] = (1,),
    separators: Separators | None = None,
    **options: object,
) -> VisionLanguageModel:
    """Return the bundled encoder, a connector and a small language model."""
    encoder = find_encoder("bundled")
    sight = Sight(info=encoder.info, tiling=fitting_tiling(tiling, encoder.info, options, scales=scales), scales=scales)
    return VisionLanguageModel(
        name="small",
        encoder=encoder,
        sight=sight,
        spec=method(name),
        llm=language or llm(),
        separators=separators or Separators(),
    )
