"""Sources that can only be read on: no number of samples, no samples by number."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from opticnerve.data.bad_samples import BadSamples
from opticnerve.data.examples import Example
from opticnerve.data.samples import Sample
from opticnerve.errors import BadSampleError


@runtime_checkable
class Stream(Protocol):
    """Samples one after another, from the first again each time it is opened."""

    def __iter__(self) -> Iterator[Sample | BadSampleError]:
        """Read the samples; of a bad one, what is wrong with it. An error that was raised would end the stream."""
        ...


class GoodOfStream:
    """Makes examples of the samples of a stream; bad ones are counted, and named once in a log.

    Which process and which worker a sample belongs to, and which samples are done, is known before it is made into
    an example, so those that are passed over cost no decoding.
    """

    def __init__(self, make: Callable[[Sample], Example], *, log: str | Path, max_bad_share: float) -> None:
        """Read the log of an earlier run, if there is one.

        Args:
            make: from a sample to an example: `ExampleMaker.make`.
            log: where bad samples are named, one JSON object a line; its folder exists.
            max_bad_share: the largest share of bad samples that is put up with, 0 to 1.

        Raises:
            DataError: the log cannot be read.
        """
        self.make = make
        self.bad_samples = BadSamples(Path(log), max_bad_share)

    def __call__(self, sample: Sample | BadSampleError) -> Example | None:
        """Make an example.

        Args:
            sample: what the stream gave.

        Returns:
            The example; None if the sample is bad, for which the next good one may stand.

        Raises:
            TooManyBadSamplesError: too many samples were bad.
            DataError: the log cannot be written.
        """
        try:
            if isinstance(sample, BadSampleError):
                raise sample
            example = self.make(sample)
        except BadSampleError as error:
            self.bad_samples.name(error)
            self.bad_samples.bad()
            return None
        self.bad_samples.good()
        return example


class StreamMixture:
    """Streams read by turns, one sample of each, until all of them have ended."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        """Take the streams in order.

        Args:
            streams: as they take turns.
        """
        self.streams = tuple(streams)

    def __iter__(self) -> Iterator[Sample | BadSampleError]:
        """Read the samples."""
        running = [iter(stream) for stream in self.streams]
        while running:
            for stream in tuple(running):
                try:
                    yield next(stream)
                except StopIteration:
                    running.remove(stream)


class AsStream:
    """A source that is read in order, to be mixed with streams."""

    def __init__(self, size: int, read: Callable[[int], Sample]) -> None:
        """Take the source.

        Args:
            size: number of samples.
            read: gives one by its number.
        """
        self.size = size
        self.read = read

    def __iter__(self) -> Iterator[Sample | BadSampleError]:
        """Read the samples."""
        for index in range(self.size):
            try:
                yield self.read(index)
            except BadSampleError as error:
                yield error
