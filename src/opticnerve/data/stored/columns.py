"""Columns of texts in which a text is found without a dictionary of a million entries."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class Texts:
    """A column of texts with its sorted order: four bytes a row beside the texts, in two blocks.

    Nothing in it is counted by Python, so that a process that is forked off shares all of it.

    Args:
        column: of a pyarrow.Table; null counts as "".
    """

    def __init__(self, column: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        self._texts: Any = column.cast(pa.large_string()).combine_chunks().fill_null("")
        order: Any = cast("Any", pc).array_sort_indices(self._texts)
        self._order: NDArray[np.int32] = order.to_numpy().astype(np.int32)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._order)

    def __getitem__(self, row: int) -> str:
        """Read one.

        Args:
            row: from 0.
        """
        return cast("str", self._texts[row].as_py())

    def rows(self, text: str) -> Iterator[int]:
        """Find the rows with a text, in the order of the table.

        Args:
            text: the whole of it; "" is in no row.
        """
        if not text:
            return
        place = bisect_left(range(len(self)), text, key=lambda place: self[int(self._order[place])])
        while place < len(self) and self[row := int(self._order[place])] == text:
            yield row
            place += 1
