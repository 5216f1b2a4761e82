"""What stops a run that encodes images; a bad image does not."""

from opticnerve.errors import OpticNerveError


class EncodeError(OpticNerveError):
    """A run cannot begin or go on; finished shards stay."""
