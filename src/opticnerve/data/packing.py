"""From examples to a batch without padding: several samples in one row, which do not see each other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from opticnerve.data.collate import collate_extra, collate_images, pad_id
from opticnerve.data.examples import IGNORED, Example
from opticnerve.data.processors import Processor
from opticnerve.errors import DataError


class Packer:
    """A collator that puts the examples of a batch into as few rows as fit.

    The window within which examples may share a row is the batch that the collator is given: no example moves to
    another step, so the loss, the order of the data and the place to resume from are those of unpacked training.

    In place of a mask, the batch has position ids that start again at 0 with each sample, from which transformers'
    attention makes a block-diagonal mask, and flash attention its sequence lengths. `use_cache` is off, because with
    a cache transformers does not look for packed samples, and they would see each other.
    """

    def __init__(self, processor: Processor, *, max_tokens: int) -> None:
        """Take over what pads.

        Args:
            processor: the model's.
            max_tokens: longest row.
        """
        self.processor = processor
        self.max_tokens = max_tokens
        self.pad_id = pad_id(processor)

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Make a batch.

        Args:
            examples: at least one.

        Returns:
            As `Collator`, with `position_ids` and `use_cache` in place of `attention_mask`. Images and extra labels
            are in the order of the rows.

        Raises:
            DataError: an example is longer than a row.
        """
        rows = first_fit([len(example["input_ids"]) for example in examples], capacity=self.max_tokens)
        packed = [[examples[index] for index in row] for row in rows]
        ids = [torch.cat([example["input_ids"] for example in row]) for row in packed]
        labels = [torch.cat([example["labels"] for example in row]) for row in packed]
        longest = max(map(len, ids))
        in_order = [example for row in packed for example in row]
        # What fills a row up counts from 0 again, so that it is a sample of its own.
        positions = [
            torch.cat(
                [torch.arange(size) for size in (*(len(each["input_ids"]) for each in row), longest - len(row_ids))]
            )
            for row, row_ids in zip(packed, ids, strict=True)
        ]
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_id),
            "position_ids": torch.stack(positions),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
            "use_cache": False,
            **collate_images(in_order, self.processor),
            **collate_extra(in_order),
        }


def first_fit(lengths: Sequence[int], *, capacity: int) -> list[list[int]]:
    """Share items out over rows: longest first, each into the first row with room for it.

    Args:
        lengths: of the items.
        capacity: of a row.

    Returns:
        For each row the items in it, in their own order; rows by their first item. Each item is in exactly one row.

    Raises:
        DataError: an item is longer than a row.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if lengths[index] > capacity:
            raise DataError(f"an example of {lengths[index]:,} tokens does not fit into a row of {capacity:,}")
        row = next((row for row, left in enumerate(room) if left >= lengths[index]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(capacity)
        rows[row].append(index)
        room[row] -= lengths[index]
    return sorted(sorted(row) for row in rows)
