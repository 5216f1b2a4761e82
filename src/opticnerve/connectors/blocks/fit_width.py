"""Fit width: a Linear where two widths differ, and nothing where they are equal."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.base import IN, LLM, Block, BlockSpec, Dim, fixed
from opticnerve.errors import SpecError
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class FitWidth(BlockSpec):
    """Project every token to another width, or leave it alone if it has that width already. Tokens stay.

    Source: input_proj and output_proj of Honeybee's D-Abstractor (dabs.py).
    """

    kind: ClassVar[str] = "fit_width"

    dim: Dim = LLM
    """Channels that come out."""
    in_dim: Dim = IN
    """Channels that come in; leave it as it is: it tells a resolved spec whether there are weights."""

    @property
    def has_weights(self) -> bool:
        """Whether there is a Linear; known once the widths are resolved."""
        return fixed(self.in_dim) != fixed(self.dim)

    @override
    def out_dim(self, dim: int) -> int:
        return fixed(self.dim)

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return 2 * grid.size * dim * fixed(self.dim) if self.has_weights else 0

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        return grid.size * (dim + fixed(self.dim) if self.has_weights else dim)

    @override
    def build(self, dim: int) -> "FitWidthBlock":
        require_width(self.kind, resolved=fixed(self.in_dim), given=dim)
        return FitWidthBlock(self, dim)


class FitWidthBlock(Block):
    """Applies `FitWidth`."""

    def __init__(self, spec: FitWidth, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, fixed(spec.dim)) if spec.has_weights else nn.Identity()

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch positions out"]:
        return self.linear(features)


def require_width(kind: str, *, resolved: int, given: int) -> None:
    """Refuse to build a block for another width than the one that it was resolved for.

    Raises:
        SpecError: the widths differ.
    """
    if resolved != given:
        raise SpecError(
            f"{kind} was resolved for {resolved} channels, but {given} come in: build the spec that was not resolved "
            f"yet, or resolve it for {given} channels"
        )
