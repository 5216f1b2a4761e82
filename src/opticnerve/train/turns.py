"""Data for budgets by turns: all samples of a step are made for the same budget, and the next step has the next one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset, Sampler
from typing_extensions import override

from opticnerve.train.batches import StepSampler

TURN = "turn"
"""Key of a batch: the number of its budget."""

Turned = tuple[int, Any]
"""The number of a budget, and a sample's number or its example."""


class TurnSampler(Sampler[list[Turned]]):
    """Micro-batches that say whose turn it is: by the number of the step, so that nothing has to be remembered.

    Args:
        sampler: micro-batches of one process.
        num_turns: budgets.
    """

    def __init__(self, sampler: StepSampler, *, num_turns: int) -> None:
        self.sampler = sampler
        self.num_turns = num_turns

    def __len__(self) -> int:
        """Count the micro-batches of the stage, those that are done included."""
        return len(self.sampler)

    @override
    def __iter__(self) -> Iterator[list[Turned]]:
        for number, indices in enumerate(self.sampler):
            step = self.sampler.first_step + number // self.sampler.split.num_micro_batches
            yield [(step % self.num_turns, index) for index in indices]


class TurnDataset(Dataset[Turned]):
    """Examples as each of several budgets has them.

    Args:
        datasets: one for each budget, of the same samples.
    """

    def __init__(self, datasets: Sequence[Dataset[Any]]) -> None:
        self.datasets = tuple(datasets)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.datasets[0])  # pyright: ignore[reportArgumentType]

    @property
    def num_turns(self) -> int:
        """Count the budgets."""
        return len(self.datasets)

    @override
    def __getitem__(self, index: Turned) -> Turned:
        turn, number = index
        return turn, self.datasets[turn][number]


@dataclass(frozen=True, slots=True)
class TurnCollate:
    """Makes a batch that says whose turn it is."""

    collate: Callable[[list[Any]], dict[str, Any]]
    """From examples to what the model takes."""

    def __call__(self, examples: Sequence[Turned]) -> dict[str, Any]:
        """Make a batch.

        Args:
            examples: of one budget.
        """
        return {**self.collate([example for _, example in examples]), TURN: examples[0][0]}
