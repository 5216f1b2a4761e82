"""A Linear and a layer norm, told from what enters the Linear: what makes composed weights possible."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.norm import LayerNorm

_SLABS = 8
"""Pieces of the triangle: with 8, 9/16 of the square is multiplied; more pieces get too narrow for a matrix product."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Affine:
    """A Linear in float64."""

    weight: Float64[Tensor, "out in"]
    bias: Float64[Tensor, " out"]

    @staticmethod
    def of(linear: nn.Linear) -> "Affine":
        """Read a Linear; a missing bias is zero."""
        weight, bias = wide(linear.weight), cast("Tensor | None", linear.bias)
        return Affine(weight=weight, bias=weight.new_zeros(len(weight)) if bias is None else wide(bias))

    def centred(self) -> "Affine":
        """Return the same less its mean over outputs, as a layer norm takes it off."""
        return Affine(weight=self.weight - self.weight.mean(0), bias=self.bias - self.bias.mean())


class InverseStd(nn.Module):
    """1 / standard deviation over the outputs of a Linear, from its inputs x.

    With C the centred weights and c the centred bias, the variance is |C x + c|^2 / width, and the norm of a vector is
    that of R [x; 1], where [C, c] = Q R. The triangle R is as accurate as C, which x^T (C^T C) x would not be: that
    squares the condition. It is also smaller where the Linear widens, and half of it is zero.
    """

    factor: Float[Tensor, "rows in_dim"]
    offset: Float[Tensor, " rows"]

    def __init__(self, affine: Affine, *, eps: float, like: Tensor) -> None:
        """Factor the centred weights.

        Args:
            affine: the Linear.
            eps: of the layer norm.
            like: a weight whose data type and device are taken.
        """
        super().__init__()
        self.eps = eps
        self.width = len(affine.weight)
        centred = affine.centred()
        joined = torch.cat([centred.weight, centred.bias[:, None]], dim=1)
        _, triangle = cast("tuple[Tensor, Tensor]", torch.linalg.qr(joined, mode="r"))
        rows = variance_rows(*reversed(affine.weight.shape), has_bias=bool(affine.bias.any()))
        hold(self, "factor", triangle[:rows, :-1], like=like)
        hold(self, "offset", triangle[:rows, -1], like=like)

    @override
    def forward(self, x: Float[Tensor, "batch tokens in_dim"]) -> Float[Tensor, "batch tokens 1"]:
        """Return the inverse deviations, in float32 or wider."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        total = torch.zeros((), dtype=dtype, device=x.device)
        for start, stop in _slabs(len(self.factor)):
            part = F.linear(x[..., start:], self.factor[start:stop, start:], self.offset[start:stop])
            total = total + part.to(dtype).square().sum(-1, keepdim=True)
        return torch.rsqrt(total / self.width + self.eps)


class ThroughNorm(nn.Module):
    """Linear, layer norm, Linear as one product: the second Linear of the norm of the first one."""

    weight: Float[Tensor, "out_dim in_dim"]
    offset: Float[Tensor, " out_dim"]
    shift: Float[Tensor, " out_dim"]

    def __init__(self, first: Affine, norm: nn.Module, second: Affine, *, like: Tensor) -> None:
        super().__init__()
        assert isinstance(norm, LayerNorm)
        self.inverse_std = InverseStd(first, eps=norm.eps, like=like)
        composed = compose(second, norm, first)
        hold(self, "weight", composed.weight, like=like)
        hold(self, "offset", composed.bias, like=like)
        hold(self, "shift", shift(second, norm), like=like)

    @override
    def forward(self, x: Float[Tensor, "batch tokens in_dim"]) -> Float[Tensor, "batch tokens out_dim"]:
        scale = self.inverse_std(x)
        product = F.linear(x, self.weight, self.offset)
        return (product * scale + self.shift).to(x.dtype)


def compose(second: Affine, norm: LayerNorm, first: Affine) -> Affine:
    """Compose two Linears through the norm between them, all but the norm's inverse deviation and shift."""
    scaled = second.weight * wide(norm.weight)
    centred = first.centred()
    return Affine(weight=scaled @ centred.weight, bias=scaled @ centred.bias)


def shift(second: Affine, norm: LayerNorm) -> Float64[Tensor, " out"]:
    """Return what the norm's shift and the second Linear's bias add, whatever the input."""
    return second.weight @ wide(norm.bias) + second.bias


def variance_rows(in_dim: int, width: int, *, has_bias: bool) -> int:
    """Count the rows of the triangle, for a Linear from `in_dim` to `width` channels."""
    return min(width, in_dim + has_bias)


def variance_flops(*, tokens: int, in_dim: int, width: int, has_bias: bool) -> int:
    """Count the floating-point operations of `InverseStd`."""
    rows = variance_rows(in_dim, width, has_bias=has_bias)
    return 2 * tokens * sum((stop - start) * (in_dim - start) for start, stop in _slabs(rows))


def _slabs(rows: int) -> Iterator[tuple[int, int]]:
    height = -(-rows // _SLABS)
    for start in range(0, rows, height):
        yield start, min(rows, start + height)


def wide(tensor: Tensor) -> Float64[Tensor, "*any"]:
    """Return a copy in float64, apart from any graph; on the CPU where the device knows no float64."""
    device = "cpu" if tensor.device.type == "mps" else tensor.device
    return tensor.detach().to(device=device, dtype=torch.float64)


def pieces(tensor: Tensor, size: int, *, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a tensor into pieces of one size along an axis."""
    return cast("tuple[Tensor, ...]", tensor.split(size, dim=dim))


def hold(module: nn.Module, name: str, tensor: Tensor, *, like: Tensor) -> None:
    """Keep a derived tensor that moves with the module and is never saved."""
    module.register_buffer(name, tensor.to(device=like.device, dtype=like.dtype).contiguous(), persistent=False)
