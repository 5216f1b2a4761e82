"""In which order samples are trained on: a function of seed and epoch, the same on every machine.

Nothing is stored: whoever resumes asks for the same order and passes over what is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from opticnerve.data.examples import ExampleMaker
from opticnerve.data.good_samples import Source
from opticnerve.data.mixing import mix
from opticnerve.errors import BadSampleError, SpecError


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffledOrder:
    """All samples, shuffled anew in each epoch."""

    size: int
    """Number of samples."""
    seed: int
    """Of the run."""

    def __call__(self, epoch: int) -> list[int]:
        """List the samples of an epoch, each once.

        Args:
            epoch: from 0.
        """
        return [int(index) for index in np.argsort(mix(self.seed, epoch, size=self.size), kind="stable")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """How long samples are, about, and which of them have images."""

    tokens: tuple[int, ...]
    """Tokens of each sample, visual ones included."""
    has_image: tuple[bool, ...]
    """Whether each sample has an image."""


def measure(source: Source, maker: ExampleMaker) -> Lengths:
    """Measure all samples of a source; no image is decoded, but every header is read.

    Args:
        source: the samples; a bad one counts as one token.
        maker: counts their tokens.
    """
    tokens: list[int] = []
    has_image: list[bool] = []
    for index in range(len(source)):
        try:
            sample = source[index]
            tokens.append(maker.count_tokens(sample))
            has_image.append(bool(sample.images))
        except BadSampleError:
            tokens.append(1)
            has_image.append(False)
    return Lengths(tokens=tuple(tokens), has_image=tuple(has_image))


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupedOrder:
    """All samples, shuffled, then grouped: those with images apart from those without, long ones beside long ones.

    The shuffled samples with images are dealt out into batches, and so are those without. Within each batch the
    longest sample stands first, so micro-batches cut from it hold samples of like length, need little padding, and are
    done on all processes at about the same time. The batches then come in a random order. The few samples that fill
    no batch of their kind stand at the end of the epoch. Batches stay whole where epochs do not end with a step.

    LLaVA's grouping by modality and length, except that it cuts a batch into as many parts of like total length as
    there are processes and steps of accumulation.
    """

    lengths: Lengths
    """Of all samples."""
    batch_size: int
    """Samples of an optimizer step."""
    seed: int
    """Of the run."""
    num_sorted: int = 1
    """Batches whose samples are sorted together. With more than one, the batches themselves differ in length."""

    def __post_init__(self) -> None:
        """Refuse sizes that make no batches."""
        if self.batch_size < 1 or self.num_sorted < 1:
            raise SpecError(
                f"batch_size and num_sorted are at least 1, got batch_size={self.batch_size} and "
                f"num_sorted={self.num_sorted}"
            )

    def __call__(self, epoch: int) -> list[int]:
        """List the samples of an epoch, each once.

        Args:
            epoch: from 0.
        """
        size = len(self.lengths.tokens)
        shuffled = ShuffledOrder(size=size, seed=self.seed)(epoch)
        # The step in which the epoch before ended is filled up first, so that batches begin with steps again.
        num_first = min(-epoch * size % self.batch_size, size)
        batches: list[list[int]] = []
        last: list[int] = []
        for kind in (True, False):
            own = [index for index in shuffled[num_first:] if self.lengths.has_image[index] == kind]
            whole = len(own) // self.batch_size * self.batch_size
            batches += self._batches(own[:whole])
            last += own[whole:]
        order = [int(number) for number in np.argsort(mix(self.seed, epoch, 1, size=len(batches)), kind="stable")]
        return [*shuffled[:num_first], *chain.from_iterable(batches[number] for number in order), *self._sorted(last)]

    def _batches(self, indices: Sequence[int]) -> list[list[int]]:
        step = self.batch_size * self.num_sorted
        in_order = [
            each for start in range(0, len(indices), step) for each in self._sorted(indices[start : start + step])
        ]
        return [in_order[start : start + self.batch_size] for start in range(0, len(in_order), self.batch_size)]

    def _sorted(self, indices: Sequence[int]) -> list[int]:
        return sorted(indices, key=lambda index: -self.lengths.tokens[index])
