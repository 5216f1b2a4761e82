"""Weights as one short text that tells whether two are the same."""

import hashlib

import torch
from torch import nn


def weights_sha256(module: nn.Module) -> str:
    """Digest the names and values of a module's weights.

    Args:
        module: an encoder, a connector or any other; on any device.

    Returns:
        64 hexadecimal digits, the same wherever the same weights are loaded in the same precision.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
