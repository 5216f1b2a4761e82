"""Batch normalisation for training, and its way out: the shipped encoder has plain convolutions."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from opticnerve.encoders.bundled.model import BundledEncoderModel
from opticnerve.encoders.bundled.probe import BundledProbe


def _convolutions(model: BundledEncoderModel) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Name every convolution before the blocks, whether it has a normalisation or not."""
    for module in model.stem:
        for name, child in list(module.named_children()):
            yield module, name, child
    yield model, "embed", model.embed


def add_batch_norm(model: BundledEncoderModel) -> None:
    """Put a batch normalisation behind every convolution of the stem and the patch embedding, in place."""
    for parent, name, conv in _convolutions(model):
        setattr(parent, name, nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels, momentum=0.05)))


def fold_batch_norm(model: BundledEncoderModel) -> BundledEncoderModel:
    """Copy the model with the normalisations' running statistics folded into the convolutions."""
    folded = copy.deepcopy(model).eval()
    for parent, name, pair in _convolutions(folded):
        setattr(parent, name, fuse_conv_bn_eval(pair[0], pair[1]))
    return folded


def _write(module: nn.Module, path: Path) -> None:
    tensors = {name: tensor.half().contiguous() for name, tensor in module.state_dict().items()}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial)
    partial.chmod(0o644)
    partial.replace(path)
    module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})


@torch.no_grad()
def export(
    model: BundledEncoderModel, probe: BundledProbe, *, folder: Path
) -> tuple[BundledEncoderModel, BundledProbe]:
    """Write `weights.safetensors` and `probe.safetensors` in fp16, and return copies rounded as a user gets them."""
    folded, copied = fold_batch_norm(model), copy.deepcopy(probe).eval()
    _write(folded, folder / "weights.safetensors")
    _write(copied, folder / "probe.safetensors")
    return folded, copied
