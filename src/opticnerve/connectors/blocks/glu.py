"""GLU: a gated two-layer network for every token."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import LLM, Block, BlockSpec, Dim, fixed
from opticnerve.connectors.blocks.feed_forward import GatedFeedForward
from opticnerve.connectors.blocks.linear import ActivationKind
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class GLU(BlockSpec):
    """Project every token through a gated MLP: down(f(gate(x)) * up(x)). The number of tokens stays.

    Source: Shazeer, "GLU Variants Improve Transformer", 2020; modality_projection of Idefics2 (transformers).
    """

    kind: ClassVar[str] = "glu"

    hidden_dim: Dim = LLM * 4
    """Channels of the gate."""
    dim: Dim = LLM
    """Channels that come out."""
    function: ActivationKind = "silu"
    """What activates the gate."""
    has_bias: bool = False
    """Whether the three Linears have a bias."""
    limit: float | None = None
    """Where the two factors are cut off: the gate before its activation above, the other one on both sides
    (GLM-5-Next); None for nowhere."""

    @override
    def out_dim(self, dim: int) -> int:
        return fixed(self.dim)

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return 2 * grid.size * fixed(self.hidden_dim) * (2 * dim + fixed(self.dim))

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        hidden = fixed(self.hidden_dim)
        return grid.size * (dim + max(3 * hidden, hidden + fixed(self.dim)))

    @override
    def build(self, dim: int) -> "GLUBlock":
        return GLUBlock(self, dim)


class GLUBlock(Block):
    """Applies `GLU`."""

    def __init__(self, spec: GLU, dim: int) -> None:
        super().__init__()
        self.glu = GatedFeedForward(
            dim=dim,
            hidden_dim=fixed(spec.hidden_dim),
            out_dim=fixed(spec.dim),
            function=spec.function,
            has_bias=spec.has_bias,
            limit=spec.limit,
        )

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch positions out"]:
        return self.glu(features)
