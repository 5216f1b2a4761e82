"""Slow and obvious arithmetic on single tensors, to hold the fast code against."""

import torch
from torch import Tensor


def depthwise(image: Tensor, kernel: Tensor, *, stride: int = 1) -> Tensor:
    """A depthwise 3 x 3 convolution of a (rows, cols, dim) image with zeros around it; the kernel is (dim, 3, 3)."""
    rows, cols, dim = image.shape
    out = torch.zeros(-(-rows // stride), -(-cols // stride), dim)
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    y, x = row * stride + down, col * stride + right
                    if 0 <= y < rows and 0 <= x < cols:
                        out[row, col] += image[y, x] * kernel[:, down + 1, right + 1]
    return out


def normed(tokens: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm over the last axis."""
    centred = tokens - tokens.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias


def bins(image: Tensor, *, rows: int, cols: int) -> Tensor:
    """The mean of each of rows x cols bins of a (rows, cols, dim) image; bins share patches where they overlap."""
    height, width, dim = image.shape
    out = torch.zeros(rows, cols, dim)
    for row in range(rows):
        for col in range(cols):
            top, bottom = row * height // rows, -(-(row + 1) * height // rows)
            left, right = col * width // cols, -(-(col + 1) * width // cols)
            out[row, col] = image[top:bottom, left:right].mean((0, 1))
    return out


def read(image: Tensor, x: float, y: float) -> Tensor:
    """Interpolate a (rows, cols, dim) image between the centres of its patches; (x, y) in patches, zeros around it."""
    rows, cols, dim = image.shape
    out = torch.zeros(dim)
    for row in range(rows):
        for col in range(cols):
            near = max(0.0, 1 - abs(y - 0.5 - row)) * max(0.0, 1 - abs(x - 0.5 - col))
            out += near * image[row, col]
    return out
