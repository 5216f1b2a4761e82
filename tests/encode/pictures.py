"""Folders of small pictures, and settings under which they are encoded in no time."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

from opticnerve.encode.run import Limits, Summary, encode_pictures
from opticnerve.encode.settings import EncodeSettings
from opticnerve.views import ViewSettings

VIEWS = ViewSettings(tiling="internvl", tiling_options={"tile_px": 32, "max_tiles": 4})
FEATURES = EncodeSettings(views=VIEWS, keep="features", dtype="fp32", tiles_per_call=5, device="cpu")
TOKENS = EncodeSettings(views=VIEWS, llm_dim=24, tiles_per_call=5, device="cpu")


def picture(seed: int, *, height: int = 40, width: int = 56) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def folder_of(folder: Path, count: int, *, first: int = 0) -> Path:
    """Pictures of mixed sizes, so that they have different numbers of tiles."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        height, width = 24 + 16 * (index % 4), 24 + 24 * (index % 3)
        (folder / f"{index:04d}.png").write_bytes(picture(index, height=height, width=width))
    return folder


def encode(sources: Path | Sequence[str], out: Path, settings: EncodeSettings = FEATURES, **limits: Any) -> Summary:
    texts = [str(sources)] if isinstance(sources, Path) else sources
    return encode_pictures(texts, out, settings, limits=Limits(**{"shard_size": 4, "num_workers": 0, **limits}))


def manifest(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "manifest.parquet").to_pylist()


def skipped(out: Path) -> dict[str, str]:
    return {row["id"]: row["reason"] for row in pq.read_table(out / "skipped.parquet").to_pylist()}


def rows_of(out: Path, row: dict[str, Any], name: str = "features") -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(out / row["file"], framework="pt") as file:
        return file.get_slice(name)[row["start"] : row["stop"]]


def contents(out: Path) -> dict[str, bytes]:
    """Every file that a run leaves, by name."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
