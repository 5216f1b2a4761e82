"""The files of a folder of stored images, as `opticnerve encode` writes them and anyone may read them.

tokens/
  encode.json                 what made it: settings, how images are seen, version
  sources.parquet             every picture, in order, and its shard
  shards/00000000.safetensors one packed tensor of all images of the shard, row after row
  shards/00000000.parquet     where each image lies in it; the shard is finished when this file is there
  manifest.parquet            the same for all shards
  skipped.parquet             pictures that could not be encoded, and why
"""

from pathlib import Path
from typing import Any

import pyarrow

FORMAT = "opticnerve.encoded/1"
"""Kind and version of the folder; stands in encode.json under "format"."""
SHARD_FORMAT = "opticnerve.shard/1"
"""Kind and version of a shard; stands in its metadata under "format"."""
ABOUT = "encode.json"
"""What made the folder."""
SOURCES = "sources.parquet"
"""Every picture, in order."""
MANIFEST = "manifest.parquet"
"""Where each image lies."""
SKIPPED = "skipped.parquet"
"""Pictures that could not be encoded."""
SHARDS = "shards"
"""Folder of the shards."""
SCALES = "scales"
"""Name of the second tensor of int8 shards: one float32 for each row, which its values are multiplied by."""

_ARROW: Any = pyarrow  # it has no types
_text: Any = _ARROW.string()
_boxes: Any = _ARROW.list_(_ARROW.list_(_ARROW.float32(), 4))
_place: Any = _ARROW.list_(_ARROW.list_(_ARROW.int32(), 4))


def manifest_schema() -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the columns of the manifest, which are those of each shard's own table."""
    return _ARROW.schema(
        [
            ("id", _text),  # unique
            ("path", _text),  # the file that held the picture
            ("offset", _ARROW.int64()),  # byte in a tar, row in a table, else 0
            ("sha256", _text),  # of the picture's bytes
            ("height_px", _ARROW.int32()),
            ("width_px", _ARROW.int32()),
            ("num_tiles", _ARROW.int32()),  # that the encoder saw
            ("num_rows", _ARROW.int32()),  # visual tokens, or features
            ("file", _text),  # relative to the folder
            ("start", _ARROW.int64()),  # first row in the file's tensor
            ("stop", _ARROW.int64()),  # one behind the last
            ("grids", _place),  # of the features of each tile: rows, cols, frames, prefix tokens
            ("out_grids", _place),  # of its visual tokens before they are joined; queries have 0, 0, 0, num
            ("tile_boxes", _boxes),  # top, left, bottom, right in pixels of the image
            ("same_as", _text),  # id of the identical picture that was encoded in its place, or null
        ]
    )


def skipped_schema() -> Any:  # noqa: ANN401 - as above
    """Return the columns of the table of pictures that could not be encoded."""
    return _ARROW.schema([("id", _text), ("path", _text), ("offset", _ARROW.int64()), ("reason", _text)])


def shard_file(number: int) -> str:
    """Name the tensor file of a shard, relative to the folder.

    Args:
        number: from 0.
    """
    return f"{SHARDS}/{number:08d}.safetensors"


def table_path(folder: Path, number: int) -> Path:
    """Say where the table of a shard is; it is renamed into place last.

    Args:
        folder: of the stored images.
        number: of the shard.
    """
    return folder / SHARDS / f"{number:08d}.parquet"
