"""Visual tokens on disk: one safetensors file for each image, whole or not there at all."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from opticnerve import whole_files
from opticnerve.encode.compressor import Compressed
from opticnerve.errors import OpticNerveError
from opticnerve.grid import Grid
from opticnerve.whole_files import reason_of

FORMAT = "opticnerve.tokens/1"
"""Kind and version of the files; stands in the metadata under "format"."""
_REMEDY = "Choose another folder"


class StoreError(OpticNerveError):
    """A token file cannot be written or read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTokens:
    """What a token file holds."""

    tokens: Float[Tensor, "tokens llm_dim"]
    """Visual tokens of the image, ready for the LLM."""
    grids: Int[Tensor, "tiles 4"]
    """Where the features of each tile lay: rows, cols, frames, prefix tokens."""
    out_grids: Int[Tensor, "tiles 4"]
    """Where the visual tokens of each tile lie before they are joined, likewise; queries have 0, 0, 0, num."""
    tile_boxes: Float[Tensor, "tiles 4"]
    """What each tile shows: top, left, bottom, right in pixels of the image."""
    metadata: Mapping[str, str]
    """Settings and source, each value a text or JSON: see `settings_metadata` in `opticnerve.encode`."""


def write_tokens(path: str | Path, compressed: Compressed, metadata: Mapping[str, str]) -> None:
    """Write a token file: under another name first, so that `path` is never half a file.

    Args:
        path: where the file goes; its folder exists.
        compressed: the tokens of one image.
        metadata: settings and source.

    Raises:
        StoreError: the disk is full, or the folder cannot be written to.
    """
    places = [
        (place.rows, place.cols, place.frames, place.prefix) if isinstance(place, Grid) else (0, 0, 0, place.num)
        for place in compressed.places
    ]
    tensors = {
        "tokens": compressed.tokens.contiguous(),
        "grids": torch.tensor([(grid.rows, grid.cols, grid.frames, grid.prefix) for grid in compressed.grids]),
        "out_grids": torch.tensor(places),
        "tile_boxes": compressed.tile_boxes,
    }
    write_whole(path, save(tensors, {"format": FORMAT, **metadata}), what="tokens")


def write_whole(path: str | Path, data: bytes, *, what: str) -> None:
    """Write a file that is either whole or not there, whatever stops the program in between.

    Args:
        path: where the file goes. A file of that name is replaced.
        data: all of it.
        what: it is, as it stands in the message.

    Raises:
        StoreError: the disk is full, or the folder cannot be written to.
    """
    whole_files.write_whole(Path(path), data, what=what, error=StoreError, remedy=_REMEDY)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """Say why a file cannot be written.

    Args:
        path: the file.
        error: what the system said.
    """
    return StoreError(f"cannot write {path}: {reason_of(error, remedy=_REMEDY)}")


def make_folder(folder: str | Path) -> None:
    """Make a folder for token files, unless it is there.

    Raises:
        StoreError: it cannot be made, or it cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {reason_of(error, remedy=_REMEDY)}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"cannot write into the folder {folder}: no permission. {_REMEDY}")


def read_tokens(path: str | Path) -> StoredTokens:
    """Read a token file.

    Raises:
        StoreError: there is no such file, it is damaged, or it is not a token file.
    """
    metadata = read_metadata(path)
    with cast("Any", safe_open(path, framework="pt")) as file:
        names = ("tokens", "grids", "out_grids", "tile_boxes")
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
    return StoredTokens(metadata=metadata, **tensors)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the settings and the source of a token file, and no tokens.

    Raises:
        StoreError: there is no such file, it is damaged, or it is not a token file.
    """
    try:
        with cast("Any", safe_open(path, framework="pt")) as file:
            metadata: dict[str, str] = file.metadata() or {}
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such file") from error
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path}: damaged, or not a safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise StoreError(
            f'{path}: not a file of visual tokens: its "format" is {json.dumps(metadata.get("format"))}, not "{FORMAT}"'
        )
    return metadata
