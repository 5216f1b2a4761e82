"""Why a training run does not start, go on or end as asked."""

from opticnerve.errors import OpticNerveError


class TrainingError(OpticNerveError):
    """A training run cannot start or go on as asked."""


class StoppedError(TrainingError):
    """A run was asked to stop, has saved itself, and can be resumed."""


class CheckpointWriteError(TrainingError):
    """A checkpoint cannot be written; the one before is whole."""
