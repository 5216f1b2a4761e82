"""Errors that a caller can cause. Every message says what was given, what is needed and what to do next."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class OpticNerveError(Exception):
    """Base of every error that this library raises on purpose."""


class GridError(OpticNerveError, ValueError):
    """A grid of patches does not fit an operation."""


class ShapeError(OpticNerveError, ValueError):
    """A tensor or a width does not have the size that an operation needs."""


class SpecError(OpticNerveError, ValueError):
    """A specification (options, JSON, YAML) says something that cannot be built."""


class UnknownNameError(OpticNerveError, KeyError):
    """A name that is not in a registry."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(kind, name, tuple(sorted(known)))  # what pickle hands to a new one, in another process

    def __str__(self) -> str:
        """Return the sentence; KeyError would show a repr."""
        kind, name, names = self.args
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        return f'unknown {kind} "{name}".{hint} Known: {", ".join(names)}.'


class ImageError(OpticNerveError):
    """A picture cannot be read, or does not fit the encoder."""


class EncoderError(OpticNerveError):
    """A vision encoder cannot be loaded, or cannot take what it was given."""


class CheckpointError(OpticNerveError):
    """Weights do not belong to the connector or encoder that they are read into."""


class PlanError(OpticNerveError, ValueError):
    """A model or a budget that cannot be planned."""


class RecipeError(OpticNerveError, ValueError):
    """A recipe cannot be trained as it is written."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__(tuple(faults))
        self.faults: tuple[str, ...] = tuple(faults)
        """One sentence each: the place, what was given and what is needed."""

    def __str__(self) -> str:
        """Return all faults, one a line."""
        return "\n".join(self.faults)


class ClusterError(OpticNerveError):
    """A Ray cluster cannot be started or joined, or has nothing to compute with."""


class DataError(OpticNerveError):
    """A source of samples cannot be opened or read."""


class BadSampleError(DataError):
    """One sample cannot be trained on; the others can."""

    def __init__(self, sample: str, reason: str) -> None:
        super().__init__(sample, reason)  # what pickle hands to a new one, in another process

    @property
    def sample(self) -> str:
        """Name of the sample: its source and its place in there."""
        return str(self.args[0])

    @property
    def reason(self) -> str:
        """What is wrong with it."""
        return str(self.args[1])

    def __str__(self) -> str:
        """Return the sentence."""
        return f"{self.sample}: {self.reason}"


class TooManyBadSamplesError(DataError):
    """A larger share of the samples is bad than is allowed."""

    def __init__(self, message: str) -> None:
        # torch wraps what a worker process raised: it makes a new one from the text of the whole traceback.
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].rstrip())


def first_line(error: Exception) -> str:
    """Return the first line of another library's message, for a message of ours; its kind where it has none.

    Args:
        error: what the other library raised.
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
