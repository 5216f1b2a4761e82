"""Runs on a Ray cluster, and the processes that they have there."""

from pathlib import Path
from time import monotonic, sleep

import psutil

from encode.pictures import FEATURES
from opticnerve.encode.on_ray import RayEngine
from opticnerve.encode.run import Limits, Summary, encode_pictures
from opticnerve.encode.settings import EncodeSettings


def on_cluster(
    photos: Path,
    out: Path,
    settings: EncodeSettings = FEATURES,
    *,
    num_workers: int = 0,
    max_skipped: float = 0.1,
    address: str | None = None,
) -> Summary:
    limits = Limits(shard_size=4, num_workers=num_workers, max_skipped=max_skipped)
    return encode_pictures([str(photos)], out, settings, limits=limits, engine=RayEngine(address=address))


def actors() -> list[psutil.Process]:
    """The processes that encode."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::MapWorker"):
                found.append(process)
        except psutil.Error:
            pass
    return found


def finished(out: Path) -> list[Path]:
    """The tables of the shards that a run has finished."""
    return list(out.glob("shards/????????.parquet"))


def wait_for_shards(out: Path, count: int) -> None:
    """Wait until a run has finished some shards."""
    until = monotonic() + 120
    while monotonic() < until and len(finished(out)) < count:
        sleep(0.005)
