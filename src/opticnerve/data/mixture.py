"""Several sources as one."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from opticnerve.data.good_samples import Source
from opticnerve.data.samples import Sample


class Mixture:
    """Sources one behind the other; shuffled, each is seen in proportion to its size."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """Line the sources up.

        Args:
            sources: as they are numbered.
        """
        self.sources = tuple(sources)
        self._ends = list(accumulate(map(len, self.sources)))

    def __len__(self) -> int:
        """Count the samples of all sources."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Args:
            index: from 0, through all sources.

        Raises:
            IndexError: there is none there.
            BadSampleError: it cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        return self.sources[number][index - (self._ends[number - 1] if number else 0)]
