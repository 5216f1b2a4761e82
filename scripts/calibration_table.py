"""Predict and measure twelve models here, and write the table's page: `python scripts/calibration_table.py`.

It calibrates first (`--seconds`, 60 by default), or takes the device of `--device FILE`; `--out` names another page.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM

from opticnerve.connectors import Connector
from opticnerve.encoders import load_encoder
from opticnerve.planner.calibrate import (
    Calibration,
    Machine,
    Spread,
    Trial,
    make_device,
    median_error,
    predict,
    this_machine,
    threads,
)
from opticnerve.planner.calibrate.machine import TORCH_DTYPES
from opticnerve.planner.calibrate.networks import build, prefill, vit_settings
from opticnerve.planner.device import Device
from opticnerve.planner.device_files import read_device
from opticnerve.planner.encoder import BuiltEncoder, EncoderCosts, module_depth
from opticnerve.planner.llm_config import read_llm
from opticnerve.planner.model import VisionLanguageModel
from opticnerve.planner.vit import read_vit
from opticnerve.views import Sight, fitting_method
from opticnerve.views.fit import fitting_tiling

PAGE = Path(__file__).parents[1] / "docs" / "calibration.md"
STAGES = ("encode", "connect", "prefill")
SECONDS = 0.5
"""For each stage of each model."""

CLIP = {"model_type": "clip_vision_model", "hidden_act": "quick_gelu", "num_channels": 3, "image_size": 224}
ENCODERS: Mapping[str, Mapping[str, Any]] = {
    "bundled": {},
    "SigLIP B/16, 224": vit_settings(dim=768, depth=12, image_px=224),
    "SigLIP B/16, 384": vit_settings(dim=768, depth=12, image_px=384),
    "CLIP B/32, 224": {
        **CLIP, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "patch_size": 32,
    },
    "CLIP L/14, 224": {
        **CLIP, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "patch_size": 14,
    },
}  # fmt: skip
_LLAMA = {"model_type": "llama", "vocab_size": 49152, "tie_word_embeddings": True}
LLMS: Mapping[str, Mapping[str, Any]] = {
    "SmolLM2-135M": {
        **_LLAMA, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "SmolLM2-360M": {
        **_LLAMA, "hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 15,
        "num_key_value_heads": 5,
    },
    "Qwen2.5-0.5B": {
        "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "of the bundled family": {
        "model_type": "qwen3", "hidden_size": 128, "intermediate_size": 160, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 32, "vocab_size": 124,
        "tie_word_embeddings": True,
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model: published sizes, random weights."""

    encoder: str
    method: str
    llm: str
    text_tokens: int
    tiling: str = "plain"
    size: tuple[int, int] = (600, 800)
    options: Mapping[str, object] = field(default_factory=dict)
    """Of the connector."""


RESAMPLER = {"query_grid": (8, 8), "head_dim": 64}
CASES = (
    Case(encoder="bundled", method="pixel_shuffle", llm="of the bundled family", text_tokens=32),
    Case(encoder="bundled", method="ldpv2", llm="SmolLM2-135M", text_tokens=64, tiling="internvl", size=(500, 500)),
    Case(
        encoder="bundled", method="perceiver", llm="SmolLM2-135M", text_tokens=192, tiling="internvl", size=(500, 1000)
    ),
    Case(encoder="bundled", method="pixel_shuffle", llm="SmolLM2-360M", text_tokens=96, tiling="internvl"),
    Case(encoder="SigLIP B/16, 224", method="mlp", llm="SmolLM2-135M", text_tokens=60),
    Case(encoder="SigLIP B/16, 224", method="ldpv2", llm="SmolLM2-360M", text_tokens=112, options={"out_grid": (7, 7)}),
    Case(encoder="SigLIP B/16, 384", method="pixel_shuffle", llm="Qwen2.5-0.5B", text_tokens=112),
    Case(encoder="SigLIP B/16, 384", method="ldpv2", llm="SmolLM2-135M", text_tokens=880),
    Case(encoder="CLIP B/32, 224", method="mlp", llm="Qwen2.5-0.5B", text_tokens=79),
    Case(encoder="CLIP B/32, 224", method="qwen_vl_resampler", llm="SmolLM2-360M", text_tokens=128, options=RESAMPLER),
    Case(encoder="CLIP L/14, 224", method="pixel_shuffle", llm="SmolLM2-135M", text_tokens=448),
    Case(encoder="CLIP L/14, 224", method="qwen_vl_resampler", llm="SmolLM2-135M", text_tokens=64, options=RESAMPLER),
)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", type=Path)
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    with threads(given.threads):
        machine = this_machine()
        device = read_device(given.device) if given.device else calibrate(machine, given.seconds)
        trials = [list(run(case, machine, device)) for case in CASES]
        given.out.write_text(page(device, trials))


def calibrate(machine: Machine, seconds: float) -> Device:
    """Measure this machine."""
    print(f"calibrating for about {seconds:g} s ...", flush=True)
    return make_device(machine, list(Calibration(machine=machine, seconds=seconds).measure()))


@torch.inference_mode()
def run(case: Case, machine: Machine, device: Device) -> Iterator[Trial]:
    """Predict and measure one model, stage by stage."""
    dtype = machine.dtypes[0]
    encoder, costs = load(case.encoder, machine)
    sight = Sight(info=costs.info, tiling=fitting_tiling(case.tiling, costs.info, {}))
    spec = fitting_method(case.method, sight, case.options)
    llm = read_llm(LLMS[case.llm], name=case.llm)
    model = VisionLanguageModel(name=title(case), encoder=costs, sight=sight, spec=spec, llm=llm)
    look = model.look(*case.size)
    expected = predict(model, device, size=case.size, text_tokens=case.text_tokens, dtype=dtype)
    name = f"{model.name} | {look.num_tiles} | {look.num_features:,} | {case.text_tokens + look.num_tokens}"

    def trial(stage: str, work: Any) -> Trial:  # noqa: ANN401
        one = Trial(
            model=name, stage=stage, predicted=expected[stage], measured=machine.clock.ms(work, seconds=SECONDS)
        )
        print(f"{name} {stage}: {cells(one)}", flush=True)
        return one

    height, width = sight.plan(*case.size).canvases[0].tile_px
    place = {"device": machine.kind, "dtype": TORCH_DTYPES[dtype]}
    pixels = torch.randn(look.num_tiles, 3, height, width, **place)
    yield trial("encode", lambda: encoder(pixels))
    connector: Connector = spec.build(vision_dim=sight.dim, llm_dim=llm.dim).eval().to(**place)
    grid = sight.grid(height, width)
    features = torch.randn(look.num_tiles, grid.size, sight.dim, **place)
    yield trial("connect", lambda: connector(features, grid))
    language: nn.Module = build(AutoModelForCausalLM, LLMS[case.llm], machine, dtype)
    prompt = torch.randn(1, case.text_tokens + look.num_tokens, llm.dim, **place)
    yield trial("prefill", lambda: prefill(language, prompt))


def load(name: str, machine: Machine) -> tuple[Any, EncoderCosts]:
    """Build an encoder with random weights; the bundled one has its own."""
    if name == "bundled":
        encoder = load_encoder("bundled").to(machine.kind, TORCH_DTYPES[machine.dtypes[0]])
        return encoder, BuiltEncoder(encoder=encoder, depth=module_depth(encoder))
    module = build(AutoModel, ENCODERS[name], machine, machine.dtypes[0])

    def encode(pixels: Tensor) -> object:
        return module(pixel_values=pixels)

    return encode, read_vit(ENCODERS[name], name=name)


def title(case: Case) -> str:
    """Name a model in a table."""
    return f"{case.encoder}; {case.method}; {case.llm}"


def cells(trial: Trial) -> str:
    """Write a prediction, a measurement and the error."""
    return f"{trial.predicted.middle:,.1f} / {trial.measured.median:,.1f} ({trial.error:+.0%})"


def page(device: Device, rows: Sequence[Sequence[Trial]]) -> str:
    """Write the page."""
    every = [trial for row in rows for trial in row]
    spread = median(map(relative, every))
    lines = [
        "# How good are predicted times?",
        "",
        "<!-- written by scripts/calibration_table.py -->",
        "",
        "Milliseconds predicted (the middle of the range) / measured (median), and the error, for one prompt with one",
        "image of twelve models of published sizes with random weights. The device was measured just before, as",
        "`opticnerve calibrate` does; none of the networks that it measures is among the twelve.",
        "",
        f"* Command: `{' '.join(['python', *sys.argv])}`",
        f"* Machine: {device.title}; {device.source}; transformers {transformers.__version__}, Python",
        f"  {platform.python_version()}, {platform.system()}; {device.date}; load at the end {os.getloadavg()[0]:.1f}",
        f"* Numbers: {next(iter(device.flops))}; medians of at least 3 repeats, the first run not counted, for about",
        f"  {SECONDS:g} s each; the middle half of the repeats of a typical stage spans {spread:.1%} of its median",
        f"* Device: {rates(device)}",
        "",
        "| encoder; connector; LLM | tiles | features | prompt | encode | connect | prefill |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *(f"| {row[0].model} | {' | '.join(cells(trial) for trial in row)} |" for row in rows),
        "",
        *summary([*columns(every), every]),
        "",
    ]
    return "\n".join(lines)


def summary(parts: Sequence[Sequence[Trial]]) -> list[str]:
    """Write a table of the errors of each stage, and of all."""
    largest = [max(abs(trial.error) for trial in part) for part in parts]
    within = [f"{sum(trial.is_within for trial in part)} of {len(part)}" for part in parts]
    return [
        "| | encode | connect | prefill | all |",
        "|---|--:|--:|--:|--:|",
        f"| median error | {' | '.join(f'{median_error(part):.0%}' for part in parts)} |",
        f"| largest error | {' | '.join(f'{error:.0%}' for error in largest)} |",
        f"| inside the range | {' | '.join(within)} |",
    ]


def columns(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Sort trials by stage."""
    return [[trial for trial in trials if trial.stage == stage] for stage in STAGES]


def relative(trial: Trial) -> float:
    """Return the spread over the median."""
    spread: Spread = trial.measured
    return (spread.high - spread.low) / spread.median


def rates(device: Device) -> str:
    """Write what was measured of the device."""
    flops = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {dtype}" for dtype, rate in device.flops.items())
    return (
        f"{flops}; of which whole layers reach {device.compute.low:.0%} to {device.compute.high:.0%}; "
        f"{device.bandwidth / 1e9:.0f} GB/s; "
        f"{device.layer_us.low:.0f} to {device.layer_us.high:.0f} us to start a layer"
    )


if __name__ == "__main__":
    main()
