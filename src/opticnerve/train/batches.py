"""Which samples a process holds at which step, in exact arithmetic: no state to save but the step."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

from torch.utils.data import IterableDataset, Sampler, get_worker_info
from typing_extensions import override

from opticnerve.train.errors import TrainingError


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """How the samples of an optimizer step are shared out."""

    batch_size: int
    """Samples of a step, over all processes and micro-batches."""
    micro_batch_size: int
    """Samples that a process holds at once."""
    num_processes: int
    """Training processes."""
    rank: int
    """This process, from 0."""

    @property
    def num_micro_batches(self) -> int:
        """Micro-batches that one process accumulates in a step."""
        return self.batch_size // (self.micro_batch_size * self.num_processes)

    def starts(self) -> Iterator[int]:
        """Give where this process's micro-batches of a step begin, from the step's first sample."""
        for index in range(self.num_micro_batches):
            yield (index * self.num_processes + self.rank) * self.micro_batch_size


def split_batch(*, batch_size: int, micro_batch_size: int, num_processes: int, rank: int) -> Split:
    """Share a batch out among processes and micro-batches, evenly.

    Args:
        batch_size: samples of a step.
        micro_batch_size: samples that a process may hold at once; the largest number up to it that divides evenly is
            taken.
        num_processes: training processes.
        rank: this process.

    Raises:
        TrainingError: the batch cannot be shared out among the processes.
    """
    if batch_size % num_processes:
        raise TrainingError(
            f"a batch of {batch_size} cannot be shared out among {num_processes} processes: make batch_size a multiple."
        )
    share = batch_size // num_processes
    micro = max(size for size in range(1, min(share, micro_batch_size) + 1) if share % size == 0)
    return Split(batch_size=batch_size, micro_batch_size=micro, num_processes=num_processes, rank=rank)


class StepSampler(Sampler[list[int]]):
    """Micro-batches of one process, step after step and across the ends of epochs.

    Args:
        order: from the number of an epoch, the indices of its samples.
        split: how a step is shared out.
        num_steps: optimizer steps of the stage.
        first_step: steps that are done, which are passed over.
    """

    def __init__(self, order: Callable[[int], Sequence[int]], *, split: Split, num_steps: int, first_step: int) -> None:
        self.order = order
        self.split = split
        self.num_steps = num_steps
        self.first_step = first_step

    def __len__(self) -> int:
        """Count the micro-batches of the stage, those that are done included."""
        return self.num_steps * self.split.num_micro_batches

    @override
    def __iter__(self) -> Iterator[list[int]]:
        indices = self._indices()
        for number in range(self.num_steps):
            step = list(islice(indices, self.split.batch_size))
            if number >= self.first_step:
                yield from (step[start : start + self.split.micro_batch_size] for start in self.split.starts())

    def _indices(self) -> Iterator[int]:
        for epoch in count():
            order = self.order(epoch)
            if not len(order):
                raise TrainingError("there is no sample to train on.")
            yield from order


class StepStream(IterableDataset[object]):
    """Examples of one process from a stream, in the stream's own order, from its beginning again where it ends.

    What belongs to another process or worker, or to a step that is done, is read over and not made into an example.

    Args:
        stream: opens the stream anew.
        make: makes a raw sample into an example; of a bad one None, and the next good one takes its place.
        split: how a step is shared out.
        num_steps: optimizer steps of the stage.
        first_step: steps that are done.
    """

    def __init__(
        self,
        stream: Callable[[], Iterable[object]],
        make: Callable[[object], object | None],
        *,
        split: Split,
        num_steps: int,
        first_step: int,
    ) -> None:
        super().__init__()
        self.stream = stream
        self.make = make
        self.split = split
        self.num_steps = num_steps
        self.first_step = first_step

    def __len__(self) -> int:
        """Count the examples of this process in the stage, those of steps that are done included."""
        return self.num_steps * self.split.num_micro_batches * self.split.micro_batch_size

    @override
    def __iter__(self) -> Iterator[object]:
        num_missing = 0
        for position, raw in enumerate(self._forever()):
            num_wanted = num_missing + self._is_own(position)
            if not num_wanted:
                continue
            example = self.make(raw)
            num_missing = num_wanted if example is None else 0
            if example is not None:
                yield from [example] * num_wanted

    def _forever(self) -> Iterator[object]:
        while True:
            is_empty = True
            for raw in self.stream():
                is_empty = False
                yield raw
            if is_empty:
                raise TrainingError("there is no sample to train on.")

    def _is_own(self, position: int) -> bool:
        """Tell whether the sample at a position of the stream belongs to this process and this worker."""
        step, place = divmod(position, self.split.batch_size)
        micro, rank = divmod(place // self.split.micro_batch_size, self.split.num_processes)
        worker = get_worker_info()
        batch = (step - self.first_step) * self.split.num_micro_batches + micro
        is_worker = worker is None or batch % worker.num_workers == worker.id
        return step >= self.first_step and rank == self.split.rank and is_worker
