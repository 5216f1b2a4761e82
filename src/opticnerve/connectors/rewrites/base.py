"""What a rewrite is: a pattern of blocks, an equal and cheaper way to compute it, and what it saves."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks import BlockSpec
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A block of a connector, where it stands."""

    spec: BlockSpec
    """Resolved."""
    index: int
    """Its number in the connector."""
    dim: int
    """Channels that come in."""
    places: Places
    """Where what comes in lies."""

    @property
    def flops(self) -> int:
        """Operations of one image, as the block stands."""
        return self.spec.flops(self.places, self.dim)

    @property
    def values(self) -> int:
        """Numbers alive at the block's widest point, for one image."""
        return self.spec.activation_values(self.places, self.dim)

    @property
    def out_places(self) -> Places:
        """Where what comes out lies."""
        return self.spec.out_grid(self.places)

    @property
    def out_dim(self) -> int:
        """Channels that come out."""
        return self.spec.out_dim(self.dim)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a piece of a connector costs for one image."""

    flops: int
    """2 for each multiply-add of a matrix product, convolution or attention."""
    values: int
    """Numbers alive at its widest point."""

    @staticmethod
    def of(blocks: Sequence[Placed]) -> "Cost":
        """Add up what blocks cost as they stand."""
        return Cost(
            flops=sum(block.flops for block in blocks), values=max((block.values for block in blocks), default=0)
        )


class Step(nn.Module, ABC):
    """One step of a program. It reads the connector's own blocks; what it holds itself is never saved."""

    @abstractmethod
    def out_grid(self, grid: Places) -> Places:
        """Say where the output lies."""

    @abstractmethod
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places, blocks: nn.ModuleList
    ) -> Float[Tensor, "batch out_positions out_dim"]:
        """Compute the step.

        Args:
            features: what came out of the step before.
            grid: where they lie.
            blocks: the connector's, whose parameters are used.
        """


class InOrder(Step):
    """Blocks of the connector, in an order of the rewrite's choice."""

    def __init__(self, blocks: Sequence[Placed]) -> None:
        super().__init__()
        self.order = tuple((block.index, block.spec) for block in blocks)

    @override
    def out_grid(self, grid: Places) -> Places:
        for _, spec in self.order:
            grid = spec.out_grid(grid)
        return grid

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places, blocks: nn.ModuleList
    ) -> Float[Tensor, "batch out_positions out_dim"]:
        for index, spec in self.order:
            features = blocks[index](features, grid)
            grid = spec.out_grid(grid)
        return features


class Rewrite(ABC):
    """A pattern of blocks that can be computed in a cheaper, equal way."""

    name: ClassVar[str]
    """As the command line shows it."""
    why: ClassVar[str]
    """Why the result is equal, in a sentence."""
    holds_in_training: ClassVar[bool]
    """Whether gradients are equal too; otherwise it is for inference alone, and made from the weights as they are."""

    @abstractmethod
    def match(self, blocks: Sequence[Placed]) -> int:
        """Say how many blocks the pattern takes from the beginning of `blocks`; 0 where it is not there."""

    @abstractmethod
    def cost(self, blocks: Sequence[Placed]) -> Cost:
        """Say what the matched blocks cost when they are rewritten, for one image."""

    @abstractmethod
    def build(self, blocks: Sequence[Placed], modules: nn.ModuleList) -> Step:
        """Make the step.

        Args:
            blocks: those that matched.
            modules: all blocks of the connector; tensors that are derived from their weights are made in float64.
        """
