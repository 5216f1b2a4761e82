"""A range: what is known of a number that depends on more than the plan knows."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """From the best case to the worst."""

    low: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        """Add ends to ends."""
        return Range(low=self.low + other.low, high=self.high + other.high)

    @property
    def middle(self) -> float:
        """The geometric middle, for comparisons."""
        return (self.low * self.high) ** 0.5

    def times(self, factor: float) -> "Range":
        """Multiply both ends.

        Args:
            factor: at least 0.
        """
        return Range(low=self.low * factor, high=self.high * factor)

    def inverse(self, of: float = 1) -> "Range":
        """Divide a number by the range.

        Args:
            of: the number.
        """
        return Range(low=of / self.high, high=of / self.low)
