"""Examples without the bad ones: each bad sample has a good one in its place, always the same."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch.utils.data import Dataset
from typing_extensions import override

from opticnerve.data.bad_samples import MIN_SEEN, BadSamples
from opticnerve.data.examples import Example
from opticnerve.data.mixing import mix
from opticnerve.data.samples import Sample
from opticnerve.errors import BadSampleError, DataError

NUM_GUESSES = 100
"""Places anywhere in the data that are tried for a substitute."""


@runtime_checkable
class Source(Protocol):
    """Samples that can be asked for by number."""

    def __len__(self) -> int:
        """Count the samples, the bad ones included."""
        ...

    def __getitem__(self, index: int, /) -> Sample:
        """Read one sample.

        Args:
            index: from 0.

        Raises:
            BadSampleError: this one cannot be read; others can.
        """
        ...


class GoodSamples(Dataset[Example]):
    """The examples of a source, as many as it has samples.

    In place of a bad sample stands another one, which depends on nothing but the data, so their length and order are
    the same in every run. Each bad sample is counted, and named once in a log. Lives in worker processes, several of
    them if wanted; each judges the share of bad samples by those that it was asked for.
    """

    def __init__(
        self, source: Source, make: Callable[[Sample], Example], *, log: str | Path, max_bad_share: float
    ) -> None:
        """Read the log of an earlier run, if there is one.

        Args:
            source: the samples.
            make: from a sample to an example: `ExampleMaker.make`.
            log: where bad samples are named, one JSON object a line; its folder exists.
            max_bad_share: the largest share of bad samples that is put up with, 0 to 1.

        Raises:
            DataError: the source is empty, or the log cannot be read.
        """
        if not len(source):
            raise DataError("the data hold no samples: nothing can be trained on them")
        self.source = source
        self.make = make
        self.bad_samples = BadSamples(Path(log), max_bad_share)
        self._bad: dict[int, BadSampleError] = {}

    def __len__(self) -> int:
        """Count the examples: those of the source, bad ones included, as each has a substitute."""
        return len(self.source)

    @override
    def __getitem__(self, index: int) -> Example:
        """Make an example, of another sample if this one is bad.

        Args:
            index: place in the source.

        Raises:
            IndexError: the source has none there.
            TooManyBadSamplesError: too many samples were bad.
            DataError: the log cannot be written.
        """
        if not 0 <= index < len(self.source):
            raise IndexError(f"example {index} of {len(self.source)}")
        for place in self._places(index):
            try:
                example = self._good(place)
            except BadSampleError as error:
                self._note(place, error, is_wanted=place == index)
                continue
            if place == index:
                self.bad_samples.good()
            return example
        raise self.bad_samples.too_many(len(self._bad), of=len(self.source))

    def _good(self, place: int) -> Example:
        if place in self._bad:
            raise self._bad[place]
        return self.make(self.source[place])

    def _note(self, place: int, error: BadSampleError, *, is_wanted: bool) -> None:
        """Name a bad sample; count it if it was not only tried in place of another."""
        is_new = place not in self._bad
        self._bad[place] = error
        self.bad_samples.name(error)
        size = len(self.source)
        if is_new and len(self._bad) > max(self.bad_samples.max_share * size, min(MIN_SEEN, size - 1)):
            raise self.bad_samples.too_many(len(self._bad), of=size)
        if is_wanted:
            self.bad_samples.bad()

    def _places(self, index: int) -> Iterator[int]:
        """Where to look: first anywhere, as the samples of a missing folder stand side by side; then everywhere."""
        size = len(self.source)
        yield index
        yield from (int(number % size) for number in mix(index, size=NUM_GUESSES))
        yield from (each % size for each in range(index + 1, index + size))
