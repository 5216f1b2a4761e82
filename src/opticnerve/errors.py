"""Errors that a caller can cause. Every message says what was given, what is needed and what to do next."""

from collections.abc import Iterable
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


def first_line(error: Exception) -> str:
    """Return the first line of another library's message, for a message of ours; its kind where it has none.

    Args:
        error: what the other library raised.
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
