"""Norm: layer norm or root-mean-square norm over the channels of each token."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block, BlockSpec
from opticnerve.grid import Places

NormKind = Literal["layer", "rms", "rms_one_plus", "rms_no_scale"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Norm(BlockSpec):
    """Normalise each token over its channels. Tokens and width stay as they are."""

    kind: ClassVar[str] = "norm"

    norm: NormKind = "layer"
    """Layer norm; RMS norm; RMS norm that multiplies by 1 + weight (Gemma 3); or RMS norm without weights (Gemma 4)."""
    eps: float = 1e-5
    """Added to the variance. Published values differ (1e-5, 1e-6, 1e-12) and matter for parity."""

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        return (2 if self.norm in ("layer", "rms_no_scale") else 3) * grid.size * dim

    @override
    def build(self, dim: int) -> "NormBlock":
        return NormBlock(self, dim)


class NormBlock(Block):
    """Applies `Norm`, in float32 whatever the data type of the features."""

    def __init__(self, spec: Norm, dim: int) -> None:
        super().__init__()
        self.norm = make_norm(spec.norm, dim=dim, eps=spec.eps)

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch positions dim"]:
        return self.norm(features)


class RMSNorm(nn.Module):
    """x / rms(x) * weight, computed in float32; with `adds_one` the scale is 1 + weight and weights start at 0.

    With `has_scale` False there is no weight.

    Gives back the data type it was given, also where its weights are wider.

    Source: Zhang and Sennrich 2019; Gemma's variant as in transformers' Gemma3RMSNorm.
    """

    def __init__(self, *, dim: int, eps: float, adds_one: bool = False, has_scale: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.adds_one = adds_one
        self.weight = nn.Parameter(torch.zeros(dim) if adds_one else torch.ones(dim)) if has_scale else None

    @override
    def forward(self, x: Float[Tensor, "*any dim"]) -> Float[Tensor, "*any dim"]:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        if self.weight is None:
            return normed.to(x.dtype)
        if self.adds_one:
            return (normed * (1.0 + self.weight.float())).to(x.dtype)
        return (self.weight * normed.to(x.dtype)).to(x.dtype)


class LayerNorm(nn.LayerNorm):
    """Layer norm that gives back the data type it was given, also where its weights are wider."""

    @override
    def forward(self, input: Float[Tensor, "*any dim"]) -> Float[Tensor, "*any dim"]:
        if input.dtype == self.weight.dtype:
            return super().forward(input)
        return F.layer_norm(input.to(self.weight.dtype), self.normalized_shape, self.weight, self.bias, self.eps).to(
            input.dtype
        )


def make_norm(kind: NormKind, *, dim: int, eps: float) -> nn.Module:
    """Make a norm over the last axis.

    Args:
        kind: which norm.
        dim: channels.
        eps: added to the variance or mean square.
    """
    if kind == "layer":
        return LayerNorm(dim, eps=eps)
    return RMSNorm(dim=dim, eps=eps, adds_one=kind == "rms_one_plus", has_scale=kind != "rms_no_scale")
