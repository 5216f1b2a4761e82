"""Whether a folder of stored images is whole: counts, checksums, duplicates, and the numbers of a sample."""

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open
from torch import Tensor

from opticnerve.data.stored.format import (
    ABOUT,
    FORMAT,
    MANIFEST,
    SCALES,
    SHARD_FORMAT,
    SKIPPED,
    SOURCES,
    shard_file,
    table_path,
)
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.listing import Listing, read_listing
from opticnerve.encode.merge import merged_rows
from opticnerve.encode.run import missing_shards
from opticnerve.encode.sources import Picture, open_pictures
from opticnerve.encode.tables import read_table
from opticnerve.errors import OpticNerveError, first_line

SAMPLE = 100
"""Images whose numbers are read, and whose pictures are looked up again."""


@dataclass(slots=True)
class Verified:
    """What was found."""

    faults: list[str] = field(default_factory=list[str])
    """One line each; none where all is well."""
    num_images: int = 0
    """Images in the manifest, duplicates included."""
    num_duplicates: int = 0
    """Images that share the rows of an identical one."""
    num_skipped: int = 0
    """Pictures that could not be encoded."""
    num_shards: int = 0
    """Shards, each with the checksum that it was written with."""
    num_rows: int = 0
    """Visual tokens, or features, that are stored."""
    num_read: int = 0
    """Images of the sample whose numbers were read."""
    num_changed: int = 0
    """Images of the sample whose picture has other bytes by now, or is gone."""


def verify(folder: str | Path, *, sample: int = SAMPLE, seed: int = 0) -> Verified:
    """Look a folder through.

    Args:
        folder: that `encode_pictures` wrote.
        sample: images whose numbers are read.
        seed: chooses them.

    Returns:
        What is there, and what is wrong with it.

    Raises:
        EncodeError: this is no such folder, or its run is not finished.
    """
    folder = Path(folder)
    about = _about(folder)
    listing = read_listing(folder / SOURCES)
    missing = missing_shards(folder, listing)
    if missing or not (folder / MANIFEST).is_file():
        raise EncodeError(
            f"{folder}: the run is not finished, {len(missing):,} of {listing.num_shards:,} shards are missing: give "
            f"the same `opticnerve encode` command again"
        )
    found = Verified(num_shards=listing.num_shards, num_duplicates=listing.num_duplicates)
    name = cast("str", about["settings"]["keep"])
    for number in range(listing.num_shards):
        _check_shard(folder, number, name, found)
    if not found.faults:
        _check_manifest(folder, listing, found)
    if not found.faults:
        _check_sample(folder, about, listing, found, sample=sample, seed=seed)
    return found


def _about(folder: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EncodeError(f"{folder}: there is no {ABOUT}: this is no folder that `opticnerve encode` wrote") from error
    except (OSError, ValueError) as error:
        raise EncodeError(f"{folder / ABOUT} cannot be read: {first_line(error)}") from error
    if about.get("format") != FORMAT:
        raise EncodeError(f'{folder / ABOUT}: its format is {about.get("format")!r}, and "{FORMAT}" is needed')
    return about


def _check_shard(folder: Path, number: int, name: str, found: Verified) -> None:
    """Compare a shard's file with its table."""
    path = folder / shard_file(number)
    try:
        table, sha256 = read_table(table_path(folder, number))
        with path.open("rb") as file:
            is_same = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        if not is_same:
            found.faults.append(f"{path}: its checksum is not the one that it was written with")
            return
        with cast("Any", safe_open)(path, framework="pt") as opened:
            num_rows = opened.get_slice(name).get_shape()[0]
            shape_faults = opened.metadata() != {"format": SHARD_FORMAT}
    except (OSError, SafetensorError, OpticNerveError) as error:
        found.faults.append(f"{path}: {first_line(error)}")
        return
    spans = [
        (row["start"], row["stop"])
        for row in table.select(["start", "stop", "reason"]).to_pylist()
        if row["reason"] is None
    ]
    ends = [0, *(stop for _, stop in sorted(spans))]
    if shape_faults or [start for start, _ in sorted(spans)] != ends[:-1] or ends[-1] != num_rows:
        found.faults.append(f"{path}: its {num_rows:,} rows are not those of the images in its table")
    found.num_rows += num_rows


def _check_manifest(folder: Path, listing: Listing, found: Verified) -> None:
    """Compare the manifest with the tables of the shards: every picture once."""
    manifest, skipped = _rows(folder / MANIFEST), _rows(folder / SKIPPED)
    seen: set[str] = set()
    for expected in merged_rows(folder, listing):
        is_skipped = expected["reason"] is not None
        row = next(skipped if is_skipped else manifest, None)
        if row is None or any(row[key] != expected[key] for key in row):
            found.faults.append(
                f"{folder / (SKIPPED if is_skipped else MANIFEST)}: {expected['id']} is missing or wrong"
            )
            return
        if row["id"] in seen:
            found.faults.append(f"{folder / MANIFEST}: {row['id']} is there twice")
        seen.add(row["id"])
        found.num_skipped += is_skipped
        found.num_images += not is_skipped
    if next(manifest, None) is not None or next(skipped, None) is not None:
        found.faults.append(f"{folder / MANIFEST}: has more images than were listed")
    if found.num_images + found.num_skipped != listing.num_pictures:
        found.faults.append(f"{folder / MANIFEST}: not every picture of {SOURCES} is there")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    file: Any = cast("Any", pq).ParquetFile(path)
    for batch in file.iter_batches():
        yield from batch.to_pylist()


def _check_sample(
    folder: Path, about: dict[str, Any], listing: Listing, found: Verified, *, sample: int, seed: int
) -> None:
    """Read the numbers of some images, and the bytes of their pictures."""
    wanted = set(random.Random(seed).sample(range(found.num_images), min(sample, found.num_images)))
    rows = [row for index, row in enumerate(_rows(folder / MANIFEST)) if index in wanted]
    lengths = _lengths(listing, {row["id"] for row in rows})
    name, dim = about["settings"]["keep"], about["settings"]["dim"]
    try:
        source = open_pictures(about["sources"])
    except OpticNerveError:
        source = None
    for row in rows:
        values = _read(folder / row["file"], name, row["start"], row["stop"])
        if values.shape != (row["num_rows"], dim) or not bool(values.isfinite().all()):
            found.faults.append(f"{row['id']}: its {row['num_rows']} rows are not finite numbers of width {dim}")
        found.num_read += 1
        picture = Picture(id=row["id"], path=row["path"], offset=row["offset"], num_bytes=lengths[row["id"]])
        found.num_changed += source is None or not _is_same(source, picture, row["sha256"])


def _lengths(listing: Listing, ids: set[str]) -> dict[str, int | None]:
    """Look up how many bytes some pictures have."""
    found: dict[str, int | None] = {}
    for batch in listing.rows():
        chosen = batch.filter(cast("Any", pc).is_in(batch.column("id"), pa.array(list(ids), type=pa.string())))
        found |= dict(zip(chosen.column("id").to_pylist(), chosen.column("num_bytes").to_pylist(), strict=True))
    return found


def _read(path: Path, name: str, start: int, stop: int) -> Tensor:
    with cast("Any", safe_open)(path, framework="pt") as file:
        values: Tensor = file.get_slice(name)[start:stop].float()
        if SCALES in file.keys():  # noqa: SIM118 - not a mapping
            values = values * file.get_slice(SCALES)[start:stop][:, None]
    return values


def _is_same(source: Any, picture: Picture, sha256: str) -> bool:  # noqa: ANN401 - a PictureSource
    try:
        return hashlib.sha256(source.read(picture)).hexdigest() == sha256
    except OpticNerveError:
        return False
