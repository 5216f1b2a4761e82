"""A shard's tensor file, written row by row in the background: memory does not grow with the shard."""

import hashlib
import json
import os
import threading
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Any, BinaryIO, cast

import torch
from jaxtyping import Float
from torch import Tensor

from opticnerve.data.stored.format import SCALES, SHARD_FORMAT
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.store import cannot_write

_HEAD_BYTES = 1024
"""Room for the header of a safetensors file, which stands first and is known last; it may be padded with spaces."""
_WAITING = 8
"""Images that wait to be written."""
_KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "int8": torch.int8}
_NAMES = {"bf16": "BF16", "fp16": "F16", "fp32": "F32", "int8": "I8"}


class ShardFile:
    """A safetensors file with one tensor, as long as all rows that are appended; whole or not there.

    Args:
        path: where the file goes; its folder exists.
        name: of the tensor.
        dim: width of a row.
        dtype: "bf16", "fp16", "fp32" or "int8".

    Raises:
        EncodeError: the width does not fit the dtype.
        StoreError: the file cannot be written.
    """

    def __init__(self, path: Path, *, name: str, dim: int, dtype: str) -> None:
        if dtype == "int8" and dim % 4:
            raise EncodeError(f"rows of {dim} numbers cannot be stored as int8, which needs a multiple of 4: take bf16")
        self.path = path
        self.sha256 = ""
        self._name, self._dim, self._dtype = name, dim, dtype
        self._num_rows = 0
        self._scales: list[Tensor] = []
        self._draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._error: OSError | None = None
        self._queue: Queue[Tensor | None] = Queue(_WAITING)
        try:
            self._file: BinaryIO = self._draft.open("w+b")
            self._file.write(b" " * _HEAD_BYTES)
        except OSError as error:
            raise cannot_write(path, error) from error
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()

    def __enter__(self) -> "ShardFile":
        """Be written to."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing half-written behind."""
        del kind, error, trace
        self._stop()
        self._file.close()
        self._draft.unlink(missing_ok=True)

    def append(self, rows: Float[Tensor, "rows dim"], *, name: str) -> tuple[int, int]:
        """Hand rows to the writer.

        Args:
            rows: of one image; on any device.
            name: of the image, for the message.

        Returns:
            Number of the first row, and one behind the last.

        Raises:
            EncodeError: a number is beyond what the dtype can hold.
            StoreError: an earlier row could not be written.
        """
        if self._error is not None:
            raise cannot_write(self.path, self._error) from self._error
        small = self._narrowed(rows, name)
        start, self._num_rows = self._num_rows, self._num_rows + len(rows)
        self._queue.put(small.cpu().contiguous())
        return start, self._num_rows

    def finish(self) -> None:
        """Write the header, put all of it on the disk, and give the file its name.

        Raises:
            StoreError: it cannot be written.
        """
        self._stop()
        try:
            if self._error is not None:
                raise self._error
            if self._scales:
                self._file.write(_bytes(torch.cat(self._scales)))
            self._file.seek(0)
            self._file.write(self._head())
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.seek(0)
            self.sha256 = hashlib.file_digest(cast("Any", self._file), "sha256").hexdigest()
            self._draft.replace(self.path)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _narrowed(self, rows: Tensor, name: str) -> Tensor:
        rows = rows.detach()
        if self._dtype == "int8":
            rows = rows.float()
            scales = rows.abs().amax(1).div(127).clamp_min(torch.finfo(torch.float32).tiny)
            self._scales.append(scales.cpu())
            small = rows.div(scales[:, None]).round().to(torch.int8)
            is_finite = bool(scales.isfinite().all())
        else:
            small = rows.to(_KINDS[self._dtype])
            is_finite = bool(small.isfinite().all())
        if not is_finite:
            largest = rows.abs().max().item()
            raise EncodeError(
                f"{name}: its numbers reach {largest:.3g}, which {self._dtype} cannot hold: use dtype bf16 or fp32"
            )
        return small

    def _head(self) -> bytes:
        """Describe the tensors; spaces fill it up."""
        width = 1 if self._dtype == "int8" else torch.finfo(_KINDS[self._dtype]).bits // 8
        end = self._num_rows * self._dim * width
        head: dict[str, object] = {
            "__metadata__": {"format": SHARD_FORMAT},
            self._name: {
                "dtype": _NAMES[self._dtype],
                "shape": [self._num_rows, self._dim],
                "data_offsets": [0, end],
            },
        }
        if self._dtype == "int8":
            offsets = [end, end + 4 * self._num_rows]
            head[SCALES] = {"dtype": "F32", "shape": [self._num_rows], "data_offsets": offsets}
        text = json.dumps(head).encode().ljust(_HEAD_BYTES - 8)
        return len(text).to_bytes(8, "little") + text

    def _write_all(self) -> None:
        while (rows := self._queue.get()) is not None:
            try:
                if self._error is None:
                    self._file.write(_bytes(rows))
            except OSError as error:
                self._error = error

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()


def _bytes(tensor: Tensor) -> memoryview:
    return cast("Any", tensor.flatten().view(torch.uint8).numpy()).data
