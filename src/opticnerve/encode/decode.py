"""Pictures to tiles, in worker processes, in order."""

import hashlib
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from opticnerve.data import decode_image
from opticnerve.encode.listing import Shard
from opticnerve.encode.sources import Picture, PictureSource
from opticnerve.errors import EncoderError, GridError, ImageError
from opticnerve.tiling import TilePlan
from opticnerve.views import Sight

_PREFETCHED = 4
"""Pictures that each worker decodes ahead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One picture of a shard."""

    shard: int
    """Number of the shard."""
    position: int
    """Place in the shard, from 0."""
    picture: Picture
    """Where its bytes are."""
    sha256: str | None
    """What they were when the pictures were listed, where that was looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiled:
    """A picture that is ready for the encoder."""

    task: Task
    """Which one."""
    plan: TilePlan
    """What became of it."""
    views: tuple[Tensor, ...]
    """Its tiles, uint8 (tiles, 3, height, width), neighbours of one size together."""
    sha256: str
    """Of its bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A picture that cannot be encoded."""

    task: Task
    """Which one."""
    reason: str
    """Why, in one line."""


class Decoding(Dataset[Tiled | Skipped]):
    """Decodes and tiles one picture at a time; lives in worker processes.

    Args:
        source: gives the bytes.
        sight: cuts the tiles.
        max_pixels: larger images are skipped.
    """

    def __init__(self, source: PictureSource, sight: Sight, *, max_pixels: int) -> None:
        self.source = source
        self.sight = sight
        self.max_pixels = max_pixels

    @override
    def __getitem__(self, index: Any) -> Tiled | Skipped:
        """Decode the picture of a task.

        Args:
            index: the task.
        """
        task: Task = index
        try:
            data = self.source.read(task.picture)
            digest = hashlib.sha256(data).hexdigest()
            if task.sha256 is not None and task.sha256 != digest:
                raise ImageError("the file was changed after the pictures were listed")
            image = decode_image(data, max_pixels=self.max_pixels)
            plan = self.sight.plan(image.shape[1], image.shape[2])
            _ = self.sight.grids(plan)
            return Tiled(task=task, plan=plan, views=self.sight.views(image), sha256=digest)
        except (ImageError, EncoderError, GridError) as error:
            return Skipped(task=task, reason=_reason(error))
        except MemoryError:
            return Skipped(task=task, reason="does not fit into memory")


class Decoder:
    """Worker processes that stay from one call to the next.

    Args:
        decoding: what they do.
        num_workers: how many; 0 decodes in this process.
        is_pinned: tiles come in memory that a GPU can read.
    """

    def __init__(self, decoding: Decoding, *, num_workers: int, is_pinned: bool = False) -> None:
        self._tasks = _Tasks()
        self._loader: DataLoader[Any] = DataLoader(
            decoding,
            sampler=self._tasks,
            batch_size=None,
            collate_fn=cast("Any", _same),
            num_workers=num_workers,
            prefetch_factor=_PREFETCHED if num_workers else None,
            persistent_workers=num_workers > 0,
            pin_memory=is_pinned,
        )

    def run(self, shards: Iterable[Shard], *, without: Collection[int] = ()) -> Generator[Tiled | Skipped]:
        """Decode the pictures of shards, a few ahead of what is asked for.

        Args:
            shards: one after another; taken as they are needed.
            without: places in each shard that are left out.

        Returns:
            One result for each picture, in order. When a worker dies, torch raises a RuntimeError wherever this
            process is just then: see `has_died`.
        """
        self._tasks.shards, self._tasks.without = shards, without
        yield from self._loader


class _Tasks:
    """What the workers are to do: set before each run."""

    def __init__(self) -> None:
        self.shards: Iterable[Shard] = ()
        self.without: Collection[int] = ()

    def __iter__(self) -> Iterator[Task]:
        for shard in self.shards:
            yield from (task for task in tasks(shard) if task.position not in self.without)


def has_died(error: RuntimeError) -> bool:
    """Tell whether an error says that a worker has died, whatever killed it.

    Args:
        error: raised while workers decode.
    """
    return "DataLoader worker" in str(error)


def tasks(shard: Shard) -> list[Task]:
    """List the pictures of a shard with their places.

    Args:
        shard: a unit of work.
    """
    pairs = zip(shard.pictures, shard.sha256s, strict=True)
    return [
        Task(shard=shard.number, position=position, picture=picture, sha256=sha256)
        for position, (picture, sha256) in enumerate(pairs)
    ]


def _same(item: Tiled | Skipped) -> Tiled | Skipped:
    return item


def _reason(error: Exception) -> str:
    """Leave out the count of bytes that stands for a name where bytes are decoded."""
    text = " ".join(str(error).split())
    head, colon, rest = text.partition(" bytes: ")
    return rest if colon and head.replace(",", "").isdigit() else text
