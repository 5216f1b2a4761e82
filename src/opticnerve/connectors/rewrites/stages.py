"""Steps one after another, which can be taken apart again."""

from collections.abc import Iterable, Sequence
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.rewrites.base import InOrder, Step
from opticnerve.grid import Places


class Stages(Step):
    """What a rewrite makes of its blocks, where that is several steps."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    @override
    def out_grid(self, grid: Places) -> Places:
        for step in cast("Iterable[Step]", self.steps):
            grid = step.out_grid(grid)
        return grid

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places, blocks: nn.ModuleList
    ) -> Float[Tensor, "batch out_positions out_dim"]:
        for step in cast("Iterable[Step]", self.steps):
            features = step(features, grid, blocks)
            grid = step.out_grid(grid)
        return features


def take_apart(step: Step) -> list[Step]:
    """List the single steps of a step.

    Whoever computes them one by one lets go of what each read; a step that computes several holds the first input.

    Args:
        step: of any kind; one that is not made of others is its own only step.
    """
    if isinstance(step, Stages):
        return [part for one in cast("Iterable[Step]", step.steps) for part in take_apart(one)]
    if not isinstance(step, InOrder):
        return [step]
    singles: list[Step] = []
    for block in step.order:
        single = InOrder(())
        single.order = (block,)
        singles.append(single)
    return singles
