"""Who encodes the shards: this process and its workers, or a cluster."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from opticnerve.data.stored.format import SOURCES
from opticnerve.encode.encoding import Encoding
from opticnerve.encode.listing import read_listing
from opticnerve.encode.settings import EncodeSettings
from opticnerve.encode.shard import ShardEncoder, Step
from opticnerve.encode.sources import open_pictures


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What is to be encoded: plain data, from which any process of any machine can make shards."""

    settings: EncodeSettings
    """What images become."""
    sources: tuple[str, ...]
    """Where they are, as the user named it."""
    folder: Path
    """Where the files go; the list of pictures is there."""
    num_workers: int
    """Processes that decode, beside each that encodes."""

    def encoder(self, encoding: Encoding | None = None) -> ShardEncoder:
        """Load everything that turns shards into files.

        Args:
            encoding: encoder and connector, where they are loaded already.
        """
        loaded = encoding or self.settings.load()
        return ShardEncoder(loaded, open_pictures(self.sources), self.folder, num_workers=self.num_workers)


@runtime_checkable
class Engine(Protocol):
    """Encodes shards, in any order and anywhere."""

    def __call__(self, work: Work, shards: Sequence[int], encoding: Encoding) -> Iterator[Step]:
        """Encode shards.

        Args:
            work: what they are made from.
            shards: their numbers.
            encoding: encoder and connector, loaded in this process.

        Returns:
            What was done, step by step.
        """
        ...


def encode_locally(work: Work, shards: Sequence[int], encoding: Encoding) -> Iterator[Step]:
    """Encode shards in this process, with workers that decode; see `Engine`.

    Args:
        work: what they are made from.
        shards: their numbers.
        encoding: encoder and connector.
    """
    listing = read_listing(work.folder / SOURCES)
    yield from work.encoder(encoding).run(listing.shard(number) for number in shards)


def default_workers() -> int:
    """Say how many processes decode: one less than there are cores, at least one and at most eight."""
    return min(max(len(os.sched_getaffinity(0)) - 1, 1), 8)


def rank_device(settings: EncodeSettings) -> str:
    """Choose the GPU of this process among those that torchrun has started on this machine.

    Args:
        settings: a device other than "auto" stays.
    """
    if settings.device != "auto" or not torch.cuda.is_available():
        return settings.device
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
