"""The tensors of shards, opened by memory map when they are asked for."""

from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from opticnerve.data.stored.format import SCALES, SHARD_FORMAT
from opticnerve.errors import DataError, first_line

MOST_OPEN: int = 64
"""Shards that are kept open; those that were not asked for the longest are closed."""


class OpenShards:
    """Rows of the shards of a folder.

    Args:
        folder: of the stored images.
        name: of the tensor: "tokens" or "features".
    """

    def __init__(self, folder: Path, *, name: str) -> None:
        self.folder = folder
        self.name = name
        self._open: OrderedDict[str, tuple[Tensor, Tensor | None]] = OrderedDict()

    def __len__(self) -> int:
        """Count the shards that are open."""
        return len(self._open)

    def rows(self, file: str, start: int, stop: int) -> Float[Tensor, "rows dim"]:
        """Read rows of a shard.

        Args:
            file: of the shard, relative to the folder.
            start: the first row.
            stop: one behind the last.

        Returns:
            Of bf16, fp16 and fp32 the rows where they lie on the disk, which are read when they are used; of int8,
            float32.

        Raises:
            DataError: the file is missing or damaged, or has not these rows.
        """
        values, scales = self._tensors(file)
        if stop > len(values):
            raise self._damaged(file, f"it has {len(values):,} rows, and rows {start:,} to {stop:,} are asked for")
        part = values[start:stop]
        return part if scales is None else part.float() * scales[start:stop, None]

    def _tensors(self, file: str) -> tuple[Tensor, Tensor | None]:
        if file not in self._open:
            self._open[file] = self._read(file)
        self._open.move_to_end(file)
        while len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        return self._open[file]

    def _read(self, file: str) -> tuple[Tensor, Tensor | None]:
        try:
            with cast("Any", safe_open)(self.folder / file, framework="pt") as opened:
                metadata: dict[str, str] = opened.metadata() or {}
                if (found := metadata.get("format")) != SHARD_FORMAT:
                    raise self._damaged(file, f'its format is {found!r}, not "{SHARD_FORMAT}"')
                has_scales = SCALES in opened.keys()  # noqa: SIM118 - not a mapping
                return opened.get_tensor(self.name), opened.get_tensor(SCALES) if has_scales else None
        except FileNotFoundError as error:
            raise DataError(f"{self.folder / file}: no such shard: {_AGAIN}") from error
        except (OSError, SafetensorError) as error:
            raise self._damaged(file, first_line(error)) from error

    def _damaged(self, file: str, reason: str) -> DataError:
        return DataError(f"{self.folder / file} is damaged ({reason}): delete it, and {_AGAIN}")


_AGAIN = "run the same `opticnerve encode` command again, which makes it anew"
