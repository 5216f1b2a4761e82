"""Linear, and the activations between: the parts of every MLP."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.base import LLM, Block, BlockSpec, Dim, fixed
from opticnerve.grid import Places

ActivationKind = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "relu_squared", "silu", "hardswish"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear(BlockSpec):
    """Project every token to another width. The number of tokens stays."""

    kind: ClassVar[str] = "linear"

    dim: Dim = LLM
    """Channels that come out."""
    has_bias: bool = True
    """Whether a bias is added."""

    @override
    def out_dim(self, dim: int) -> int:
        return fixed(self.dim)

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return 2 * grid.size * dim * fixed(self.dim)

    @override
    def build(self, dim: int) -> "LinearBlock":
        return LinearBlock(self, dim)


class LinearBlock(Block):
    """Applies `Linear`."""

    def __init__(self, spec: Linear, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, fixed(spec.dim), bias=spec.has_bias)

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch positions out"]:
        return self.linear(features)


@dataclass(frozen=True, kw_only=True, slots=True)
class Activation(BlockSpec):
    """Apply a nonlinearity to every number. "gelu" is the exact one (erf), as in every connector of the survey."""

    kind: ClassVar[str] = "activation"

    function: ActivationKind = "gelu"
    """Which nonlinearity."""

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        steps = 3 if self.function in ("quick_gelu", "relu_squared") else 2
        return steps * grid.size * dim

    @override
    def build(self, dim: int) -> "ActivationBlock":
        return ActivationBlock(self)


class ActivationBlock(Block):
    """Applies `Activation`."""

    def __init__(self, spec: Activation) -> None:
        super().__init__()
        self.function: ActivationKind = spec.function

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch positions dim"]:
        return activate(features, self.function)


def activate(x: Float[Tensor, "*any"], function: ActivationKind) -> Float[Tensor, "*any"]:
    """Apply a nonlinearity by its name."""
    match function:
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "quick_gelu":
            return x * (1.702 * x).sigmoid()
        case "relu":
            return F.relu(x)
        case "relu_squared":
            return F.relu(x).square()
        case "silu":
            return F.silu(x)
        case "hardswish":
            return F.hardswish(x)


def mlp(*hidden: Dim, dim: Dim = LLM, has_bias: bool = True) -> tuple[BlockSpec, ...]:
    """List the blocks of an MLP: a Linear and an exact GELU for each hidden width, then the last Linear.

    Args:
        hidden: the hidden widths, first to last; none gives a single Linear.
        dim: the width that comes out.
        has_bias: whether the Linears have a bias.
    """
    blocks: list[BlockSpec] = []
    for width in hidden:
        blocks += [Linear(dim=width, has_bias=has_bias), Activation()]
    return (*blocks, Linear(dim=dim, has_bias=has_bias))
