"""How many skipped pictures are too many."""

import math
from pathlib import Path

from opticnerve.data.stored.format import SKIPPED
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.shard import Step

_MIN_SEEN = 100
"""Pictures that are seen before the share of skipped ones stops a run."""
_NUM_SHOWN = 5
"""Reasons that the message shows."""


class SkippedShare:
    """Counts what is skipped, and stops a run that goes wrong.

    Args:
        max_share: largest share of pictures that may be skipped, 0 to 1.
    """

    def __init__(self, max_share: float) -> None:
        self.max_share = max_share
        self._num_seen = 0
        self._num_skipped = 0
        self._reasons: list[str] = []

    def note(self, step: Step) -> None:
        """Count what was done.

        Args:
            step: since the last one.

        Raises:
            EncodeError: there are clearly too many skipped pictures: three standard deviations more than allowed.
        """
        self._num_seen += step.num_images + step.num_skipped
        self._num_skipped += step.num_skipped
        if not step.reason:
            return
        if len(self._reasons) < _NUM_SHOWN:
            self._reasons.append(step.reason)
        expected = self.max_share * self._num_seen
        if self._num_seen >= _MIN_SEEN and self._num_skipped > expected + 3 * math.sqrt(expected):
            raise EncodeError(self._sentence(self._num_skipped, self._num_seen, "; ".join(self._reasons)))

    def judge(self, num_skipped: int, *, of: int, where: Path) -> None:
        """Judge a whole run exactly.

        Args:
            num_skipped: pictures.
            of: pictures.
            where: the folder with the table that names them.

        Raises:
            EncodeError: they are more than allowed.
        """
        if num_skipped > self.max_share * of:
            raise EncodeError(self._sentence(num_skipped, of, f"{where / SKIPPED} names them"))

    def _sentence(self, num_skipped: int, of: int, which: str) -> str:
        return (
            f"{num_skipped:,} of {of:,} pictures were skipped, more than max-skipped {self.max_share:.3g} allows: "
            f"{which}. Mend them or allow more; finished shards are kept, and the same command goes on"
        )
