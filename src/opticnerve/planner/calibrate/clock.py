"""How long something takes: the median of repeats, and their spread."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter

_LEAST, _MOST = 3, 200
"""Repeats after the first one, which is not counted: libraries choose their kernels in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A number that was measured several times."""

    median: float
    low: float
    """A quarter of the repeats are below."""
    high: float
    """A quarter of the repeats are above."""
    repeats: int

    def times(self, factor: float) -> "Spread":
        """Multiply by a number.

        Args:
            factor: above 0.
        """
        return Spread(median=self.median * factor, low=self.low * factor, high=self.high * factor, repeats=self.repeats)

    def inverse(self, of: float) -> "Spread":
        """Divide a number by this: the operations of a time are a rate.

        Args:
            of: the number.
        """
        return Spread(median=of / self.median, low=of / self.high, high=of / self.low, repeats=self.repeats)


def spread_of(values: list[float]) -> Spread:
    """Sum up repeats.

    Args:
        values: at least two.
    """
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(median=median(values), low=low, high=high, repeats=len(values))


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Measures work in milliseconds."""

    finish: Callable[[], object]
    """Waits until the device has done what it was given; on a CPU there is nothing to wait for."""
    now: Callable[[], float] = perf_counter
    """Seconds of a clock."""

    def ms(self, work: Callable[[], object], *, seconds: float) -> Spread:
        """Repeat work after a first time that is not counted.

        Args:
            work: what is measured.
            seconds: that the repeats may take together; at least three are done.
        """
        self._once(work)
        times: list[float] = []
        while len(times) < _LEAST or (sum(times) < 1000 * seconds and len(times) < _MOST):
            times.append(self._once(work))
        return spread_of(times)

    def _once(self, work: Callable[[], object]) -> float:
        start = self.now()
        work()
        self.finish()
        return 1000 * (self.now() - start)
