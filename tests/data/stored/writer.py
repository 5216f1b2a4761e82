"""Folders of stored images, written with nothing but safetensors and pyarrow."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor

from opticnerve.data.stored.format import (
    ABOUT,
    FORMAT,
    MANIFEST,
    SHARD_FORMAT,
    SKIPPED,
    manifest_schema,
    skipped_schema,
)
from opticnerve.data.stored.format import shard_file as file_of

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
TILE = {"grids": [[2, 3, 1, 0]], "out_grids": [[0, 0, 0, 6]], "tile_boxes": [[0.0, 0.0, 8.0, 12.0]]}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image."""

    id: str
    values: Tensor
    path: str = ""
    offset: int = 0
    content: bytes = b""
    size: tuple[int, int] = (8, 12)
    same_as: str | None = None


def write_folder(
    folder: Path,
    entries: Sequence[Entry],
    *,
    keep: str = "features",
    dtype: str = "fp32",
    settings: Mapping[str, Any] | None = None,
    sight: Mapping[str, Any] | None = None,
    shard_size: int = 4,
    skipped: Sequence[tuple[str, str, str]] = (),
    group_size: int = 3,
) -> Path:
    """Write all files of a finished run; an entry with `same_as` shares the rows of that one."""
    (folder / "shards").mkdir(parents=True)
    rows: dict[str, dict[str, Any]] = {}
    own = [entry for entry in entries if entry.same_as is None]
    for number in range(-(-len(own) // shard_size)):
        part = own[number * shard_size : (number + 1) * shard_size]
        _write_shard(folder / file_of(number), torch.cat([entry.values for entry in part]), keep, dtype)
        start = 0
        for entry in part:
            stop = start + len(entry.values)
            rows[entry.id] = _row(entry) | {"file": file_of(number), "start": start, "stop": stop}
            start = stop
    for entry in entries:
        if entry.same_as is not None:
            facts = {"id": entry.id, "path": entry.path, "offset": entry.offset, "same_as": entry.same_as}
            rows[entry.id] = rows[entry.same_as] | facts
    table = pa.Table.from_pylist([rows[entry.id] for entry in entries], schema=manifest_schema())
    pq.write_table(table, folder / MANIFEST, compression="zstd", row_group_size=group_size)
    reasons = [{"id": id_, "path": path, "offset": 0, "reason": reason} for id_, path, reason in skipped]
    pq.write_table(pa.Table.from_pylist(reasons, schema=skipped_schema()), folder / SKIPPED)
    about = {
        "format": FORMAT,
        "version": "0",
        "settings": {"keep": keep, "dtype": dtype, **(settings or {})},
        "sight": sight or {},
        "sources": ["pictures"],
        "shard_size": shard_size,
    }
    (folder / ABOUT).write_text(json.dumps(about))
    return folder


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "path": entry.path or entry.id,
        "offset": entry.offset,
        "sha256": hashlib.sha256(entry.content or entry.id.encode()).hexdigest(),
        "height_px": entry.size[0],
        "width_px": entry.size[1],
        "num_tiles": 1,
        "num_rows": len(entry.values),
        "same_as": None,
        **TILE,
    }


def _write_shard(path: Path, values: Tensor, keep: str, dtype: str) -> None:
    tensors = {keep: values.to(DTYPES.get(dtype, torch.float32)).contiguous()}
    if dtype == "int8":
        scales = values.float().abs().amax(1) / 127
        tensors = {keep: (values / scales[:, None]).round().to(torch.int8), "scales": scales}
    save_file(tensors, path, metadata={"format": SHARD_FORMAT})


def skip(folder: Path, name: str, reason: str) -> None:
    """Add a picture that could not be encoded."""
    row = {"id": name, "path": name, "offset": 0, "reason": reason}
    pq.write_table(pa.Table.from_pylist([row], schema=skipped_schema()), folder / SKIPPED)
