"""Load an encoder by name: the bundled one, or any vision tower that transformers knows."""

from pathlib import Path
from typing import Literal

import torch

from opticnerve.encoders.base import Encoder, EncoderInfo
from opticnerve.encoders.bundled_encoder import load_bundled_encoder
from opticnerve.encoders.checkpoint_files import read_config, read_processor, read_weights
from opticnerve.encoders.levels import Layers, resolve_levels
from opticnerve.encoders.normalisation import Normalisation, choose_normalisation
from opticnerve.encoders.towers import TowerPlan, plan_tower
from opticnerve.encoders.trim import trim
from opticnerve.encoders.vision_tower import VisionTower, probe
from opticnerve.errors import EncoderError

Prefix = Literal["drop", "keep"]
"""What becomes of CLS and register tokens."""


def load_encoder(
    name_or_path: str | Path,
    *,
    layers: Layers = "last",
    prefix: Prefix = "drop",
    normalisation: Normalisation | Literal["checkpoint"] = "checkpoint",
    dtype: torch.dtype = torch.float32,
    revision: str = "main",
) -> Encoder:
    """Load an encoder in eval mode, on the CPU. Code from a checkpoint is never run.

    Args:
        name_or_path: "bundled"; a folder with a transformers checkpoint; or a name on the Hugging Face hub. Of a
            composite checkpoint (CLIP, SigLIP, a vision-language model) only the vision tower is kept.
        layers: "last" for the finished output, as transformers' `last_hidden_state`: after the final norm, except in
            CLIP, whose norm is for the pooled token only, and in Qwen-VL, whose norm belongs to the merger. Or indices
            into the hidden states, before the final norm: 0 is what enters the first layer, k what leaves the k-th, -1
            what leaves the last; several are joined on the channels. LLaVA takes (-2,), InternVL (-1,), TokenPacker
            (12, 16, 22, 23); Idefics3, Gemma 3 and PaliGemma take "last". Layers after the last one needed are removed.
        prefix: drop CLS and register tokens, or keep them before the patches.
        normalisation: the checkpoint's own (or its family's, where it says nothing), or the caller's.
        dtype: of the weights.
        revision: branch, tag or commit on the hub.

    Raises:
        EncoderError: there is no such model, it is not a vision tower, or it needs code from the checkpoint.
    """
    name = str(name_or_path)
    if name == "bundled":
        return load_bundled_encoder(layers=layers, normalisation=normalisation).to(dtype)
    plan, levels = _plan(name, layers=layers, revision=revision)
    info, num_prefix = _describe(plan, levels, prefix, normalisation, name=name, revision=revision)
    model = read_weights(plan, name=name, levels=levels, dtype=dtype, revision=revision)
    return VisionTower(info, plan=plan, model=model, levels=levels, num_prefix=num_prefix).eval()


def sketch_encoder(
    name_or_path: str | Path,
    *,
    layers: Layers = "last",
    prefix: Prefix = "drop",
    normalisation: Normalisation | Literal["checkpoint"] = "checkpoint",
    revision: str = "main",
) -> Encoder:
    """Build the same encoder on the meta device: grids, widths and FLOPs from the config alone; no weights are read.

    Args:
        name_or_path: as for `load_encoder`; "bundled" is small enough that it is simply loaded.
        layers: as for `load_encoder`.
        prefix: as for `load_encoder`.
        normalisation: as for `load_encoder`.
        revision: as for `load_encoder`.

    Raises:
        EncoderError: there is no such model, it is not a vision tower, or it needs code from the checkpoint.
    """
    name = str(name_or_path)
    if name == "bundled":
        return load_bundled_encoder(layers=layers, normalisation=normalisation)
    plan, levels = _plan(name, layers=layers, revision=revision)
    info, num_prefix = _describe(plan, levels, prefix, normalisation, name=name, revision=revision)
    model = plan.skeleton(num_layers=plan.num_layers)
    trim(model, plan, levels=levels)
    return VisionTower(info, plan=plan, model=model, levels=levels, num_prefix=num_prefix)


def _plan(name: str, *, layers: Layers, revision: str) -> tuple[TowerPlan, tuple[int, ...]]:
    plan = plan_tower(read_config(name, revision=revision), name=name)
    return plan, resolve_levels(layers, num_layers=plan.num_layers, name=name)


def _describe(
    plan: TowerPlan,
    levels: tuple[int, ...],
    prefix: Prefix,
    normalisation: Normalisation | Literal["checkpoint"],
    *,
    name: str,
    revision: str,
) -> tuple[EncoderInfo, int]:
    if prefix not in ("drop", "keep"):
        raise EncoderError(f'encoder "{name}" cannot "{prefix}" its prefix tokens: pass prefix="drop" or prefix="keep"')
    shapes = probe(plan, name=name)
    if not isinstance(normalisation, Normalisation):
        processor = read_processor(name, revision=revision)
        normalisation = choose_normalisation(processor, family=plan.config.model_type, name=name)
    info = EncoderInfo(
        name=name,
        dim=shapes.dim * max(len(levels), 1),
        patch_px=plan.patch_px,
        native_px=(plan.native_px, plan.native_px),
        step_px=plan.step_px,
        is_any_size=shapes.is_any_size,
        num_prefix=shapes.num_prefix if prefix == "keep" else 0,
        normalisation=normalisation,
    )
    return info, shapes.num_prefix
