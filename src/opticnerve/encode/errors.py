"""What stops a run that encodes images; a bad image does not."""

from opticnerve.errors import OpticNerveError


class EncodeError(OpticNerveError):
    """A run cannot begin or go on; finished shards stay."""


class CrashError(OpticNerveError):
    """A process that decodes images died, and took no part of a finished shard with it."""
