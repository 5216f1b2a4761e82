"""Where the images of a shard lie: its table, whose presence says that the shard is finished."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from opticnerve.data.stored.format import manifest_schema, shard_file
from opticnerve.encode.decode import Task, Tiled
from opticnerve.encode.encoding import Encoding
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.listing import Shard
from opticnerve.encode.sources.rows import ARROW_ERRORS
from opticnerve.encode.store import cannot_write

_SHA256 = b"sha256"


def table_schema() -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the columns of a shard's table: the manifest's, and the reason where a picture was skipped."""
    return manifest_schema().append(pa.field("reason", pa.string()))


@dataclass(slots=True)
class ShardTable:
    """Rows of one shard, as they come."""

    shard: Shard
    """Whose pictures they are of."""
    rows: dict[int, dict[str, object]] = field(default_factory=dict[int, dict[str, object]])
    """By the place of the picture in the shard."""

    def add(self, tiled: Tiled, encoding: Encoding, *, start: int, stop: int) -> None:
        """Add an image that is stored.

        Args:
            tiled: what it was cut into.
            encoding: says where its features lie.
            start: its first row in the file.
            stop: one behind its last.
        """
        plan = tiled.plan
        scales = [canvas.scale for canvas in plan.canvases for _ in range(canvas.num_tiles)]
        pairs = zip(scales, plan.image_boxes, strict=True)
        self._put(
            tiled.task,
            sha256=tiled.sha256,
            height_px=plan.image_height_px,
            width_px=plan.image_width_px,
            num_tiles=plan.num_tiles,
            num_rows=stop - start,
            file=shard_file(self.shard.number),
            start=start,
            stop=stop,
            grids=encoding.grids(plan),
            out_grids=encoding.out_grids(plan),
            tile_boxes=[box for scale, box in pairs if scale == plan.output_scale],
        )

    def skip(self, task: Task, reason: str) -> None:
        """Add a picture that cannot be encoded.

        Args:
            task: which.
            reason: why, in one line.
        """
        self._put(task, reason=reason)

    def write(self, path: Path, *, sha256: str) -> None:
        """Write the table: under another name first, then renamed.

        Args:
            path: where it goes.
            sha256: of the shard's tensor file.

        Raises:
            StoreError: it cannot be written.
        """
        rows = [self.rows[position] for position in sorted(self.rows)]
        schema = table_schema().with_metadata({_SHA256: sha256.encode()})
        write_table(path, cast("Any", pa.Table).from_pylist(rows, schema=schema))

    def _put(self, task: Task, **values: object) -> None:
        picture = task.picture
        self.rows[task.position] = {"id": picture.id, "path": picture.path, "offset": picture.offset, **values}


def write_table(path: Path, table: Any) -> None:  # noqa: ANN401 - a pyarrow.Table
    """Write a Parquet file that is whole or not there.

    Args:
        path: where it goes; its folder exists.
        table: all of it.

    Raises:
        StoreError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            cast("Any", pq).write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        draft.unlink(missing_ok=True)


def read_table(path: Path) -> tuple[Any, str]:
    """Read the table of a finished shard.

    Args:
        path: where it is.

    Returns:
        A pyarrow.Table, and the sha256 of the shard's tensor file.

    Raises:
        EncodeError: it is damaged.
    """
    try:
        table: Any = cast("Any", pq).read_table(path)
        return table, table.schema.metadata[_SHA256].decode()
    except (*ARROW_ERRORS, KeyError, TypeError) as error:
        raise EncodeError(f"{path} is damaged: delete it, and run again: its shard is encoded anew") from error
