"""Many short byte strings, kept as one."""

from collections.abc import Iterable

import numpy as np


class Lines:
    """Byte strings by number.

    Kept as one block: a list of a million Python objects would be copied into every worker process, bit by bit, as
    its reference counts are touched.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        """Join the byte strings.

        Args:
            lines: in order.
        """
        kept = list(lines)
        self._ends = np.cumsum([0, *map(len, kept)])
        self._block = b"".join(kept)

    def __len__(self) -> int:
        """Count the byte strings."""
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> bytes:
        """Cut one out.

        Args:
            index: from 0.

        Raises:
            IndexError: there is none there.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return self._block[self._ends[index] : self._ends[index + 1]]
