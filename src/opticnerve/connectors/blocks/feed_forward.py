"""The two-layer networks inside attention blocks, plain and gated. Shapes stay except for the width."""

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.linear import ActivationKind, activate
from opticnerve.connectors.blocks.norm import LayerNorm


class FeedForward(nn.Module):
    """Linear, activation, Linear."""

    def __init__(self, *, dim: int, hidden_dim: int, out_dim: int, function: ActivationKind, has_bias: bool) -> None:
        super().__init__()
        self.function: ActivationKind = function
        self.up = nn.Linear(dim, hidden_dim, bias=has_bias)
        self.down = nn.Linear(hidden_dim, out_dim, bias=has_bias)

    @override
    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens out"]:
        return self.down(activate(self.up(x), self.function))


class GatedFeedForward(nn.Module):
    """One Linear is activated and multiplies another, then a last Linear: SwiGLU where the function is SiLU.

    Source: Shazeer, "GLU Variants Improve Transformer", 2020; the norm inside as in EVA-02 and Honeybee.
    """

    def __init__(
        self,
        *,
        dim: int,
        hidden_dim: int,
        out_dim: int,
        function: ActivationKind,
        has_bias: bool,
        norm_eps: float | None = None,
        limit: float | None = None,
    ) -> None:
        """Make the three Linears.

        Args:
            dim: width that comes in.
            hidden_dim: width of the gate.
            out_dim: width that comes out.
            function: what activates the gate.
            has_bias: whether the Linears have a bias.
            norm_eps: of the layer norm before the last Linear; None for no norm.
            limit: the gate is cut off above it before its activation, the other factor on both sides; None for no cut.
        """
        super().__init__()
        self.function: ActivationKind = function
        self.limit = limit
        self.gate = nn.Linear(dim, hidden_dim, bias=has_bias)
        self.up = nn.Linear(dim, hidden_dim, bias=has_bias)
        self.norm = LayerNorm(hidden_dim, eps=norm_eps) if norm_eps is not None else nn.Identity()
        self.down = nn.Linear(hidden_dim, out_dim, bias=has_bias)

    @override
    def forward(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens out"]:
        if self.limit is None:
            return self.down(self.norm(activate(self.gate(x), self.function) * self.up(x)))
        gate = activate(self.gate(x).clamp(max=self.limit), self.function)
        return self.down(self.norm(gate * self.up(x).clamp(-self.limit, self.limit)))
