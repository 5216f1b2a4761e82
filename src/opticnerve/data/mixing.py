"""Numbers that look random and are the same on every machine and in every version of every library."""

import numpy as np
from jaxtyping import UInt64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(*keys: int, size: int) -> UInt64[np.ndarray, " size"]:
    """Make `size` numbers from a few keys: splitmix64, counted up from a state that the keys are mixed into.

    Args:
        keys: integers; any change of one changes all numbers.
        size: how many numbers.

    Returns:
        Numbers from 0 to 2**64 - 1.
    """
    state = np.zeros(1, np.uint64)
    for key in keys:
        state = _scramble(state ^ np.uint64(key % 2**64))
    return _scramble(state + np.arange(size, dtype=np.uint64))


def _scramble(values: UInt64[np.ndarray, " _"]) -> UInt64[np.ndarray, " _"]:
    """Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", as published by Vigna."""
    values = (values + np.uint64(1)) * _GOLDEN
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
