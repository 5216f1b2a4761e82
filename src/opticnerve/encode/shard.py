"""The unit of work: from a shard's list of pictures to its file, and nothing else."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import tee
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from opticnerve.data.stored.format import shard_file, table_path
from opticnerve.encode.batcher import Batcher
from opticnerve.encode.crashes import find_crashers
from opticnerve.encode.decode import Decoder, Decoding, Skipped, Tiled, has_died, tasks
from opticnerve.encode.encoding import Encoding
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.lanes import InOrder, Lanes
from opticnerve.encode.listing import Shard
from opticnerve.encode.shard_file import ShardFile
from opticnerve.encode.sources import PictureSource
from opticnerve.encode.tables import ShardTable

_MAX_CRASHES = 3
"""Times that a shard is tried again after a process has died."""
_NONE: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What was done since the step before."""

    num_images: int = 0
    """Images whose rows are in the file."""
    num_tiles: int = 0
    """Tiles that the encoder saw."""
    num_rows: int = 0
    """Visual tokens, or features."""
    num_skipped: int = 0
    """Pictures that cannot be encoded."""
    reason: str = ""
    """Which picture was skipped, and why."""
    finished: int | None = None
    """Number of the shard, where it is finished by this."""

    def plus(self, other: "Step") -> "Step":
        """Add up two steps; of neither it stays known what it finished."""
        return Step(
            num_images=self.num_images + other.num_images,
            num_tiles=self.num_tiles + other.num_tiles,
            num_rows=self.num_rows + other.num_rows,
            num_skipped=self.num_skipped + other.num_skipped,
        )

    def negative(self) -> "Step":
        """Take back what was done."""
        return Step(
            num_images=-self.num_images,
            num_tiles=-self.num_tiles,
            num_rows=-self.num_rows,
            num_skipped=-self.num_skipped,
        )


class ShardEncoder:
    """Encodes shards one after another, with worker processes that stay.

    Args:
        encoding: encoder and connector.
        source: gives the bytes.
        folder: where the files go; its folder of shards exists.
        num_workers: processes that decode; 0 decodes in this one.
    """

    def __init__(self, encoding: Encoding, source: PictureSource, folder: Path, *, num_workers: int) -> None:
        self.encoding = encoding
        self.folder = folder
        self._decoding = Decoding(source, encoding.sight, max_pixels=encoding.settings.max_pixels)
        self._num_workers = num_workers
        self._decoder = self._new_decoder()

    def run(self, shards: Iterable[Shard]) -> Iterator[Step]:
        """Encode shards; each gets its file, then its table, by which it is finished.

        Args:
            shards: what is to be done; taken as they are needed.

        Returns:
            One step for each image, and one for each finished shard.

        Raises:
            StoreError: a file cannot be written.
            EncodeError: decoding processes die again and again, or numbers are too large for the dtype.
        """
        mine, theirs = tee(shards)
        items = self._decoder.run(theirs)
        while (shard := next(mine, None)) is not None:
            done = yield from self._tried(shard, items)
            if done is not None:
                yield done.negative()
                items.close()
                yield from self._again(shard)
                mine, theirs = tee(mine)
                items = self._decoder.run(theirs)

    def _tried(
        self, shard: Shard, items: Iterator[Tiled | Skipped], crashers: Mapping[int, str] = _NONE
    ) -> Generator[Step, None, Step | None]:
        """Encode a shard; returns what was done in vain where a process has died, or None."""
        done = Step()
        try:
            for step in self._shard(shard, items, crashers):
                done = done.plus(step)
                yield step
        except RuntimeError as error:
            if not has_died(error):
                raise
            return done
        return None

    def _again(self, shard: Shard) -> Iterator[Step]:
        """Encode a shard in which a process has died, without the pictures that kill it."""
        for _ in range(_MAX_CRASHES):
            self._decoder = self._new_decoder()  # the other one's processes end with it
            crashers = find_crashers(self._decoding, shard)
            items = self._decoder.run([shard], without=crashers.keys())
            done = yield from self._tried(shard, items, crashers)
            if done is None:
                return
            yield done.negative()
        raise EncodeError(
            f"processes that decode images died {_MAX_CRASHES + 1} times in shard {shard.number}, and no picture of it "
            f"alone is to blame: memory may be short. Use fewer workers"
        )

    def _shard(self, shard: Shard, items: Iterator[Tiled | Skipped], crashers: Mapping[int, str]) -> Iterator[Step]:
        settings, table = self.encoding.settings, ShardTable(shard)
        path = self.folder / shard_file(shard.number)
        with (
            ShardFile(path, name=settings.keep, dim=self.encoding.dim, dtype=settings.dtype) as file,
            Lanes(self._num_lanes()) as lanes,
        ):
            batcher = Batcher(self.encoding.see, lanes=lanes, tiles_per_call=self.encoding.tiles_per_call)
            finished: InOrder[Tiled, Tensor] = InOrder(lanes)
            store = partial(self._store, file=file, table=table)
            for task in tasks(shard):
                reason = crashers.get(task.position)
                item = next(items) if reason is None else Skipped(task=task, reason=reason)
                if isinstance(item, Skipped):
                    table.skip(task, item.reason)
                    yield Step(num_skipped=1, reason=f"{task.picture.id}: {item.reason}")
                else:
                    yield from store(self._finish(batcher.put(item), finished))
            yield from store(self._finish(batcher.flush(), finished))
            yield from store(finished.flush())
            file.finish()
        table.write(table_path(self.folder, shard.number), sha256=file.sha256)
        yield Step(finished=shard.number)

    def _finish(
        self, seen: Iterable[tuple[Tiled, list[Tensor]]], finished: InOrder[Tiled, Tensor]
    ) -> Iterator[tuple[Tiled, Tensor]]:
        for tiled, features in seen:
            yield from finished.put(tiled, partial(self.encoding.finish, features, tiled.plan))

    def _store(self, finished: Iterable[tuple[Tiled, Tensor]], *, file: ShardFile, table: ShardTable) -> Iterator[Step]:
        for tiled, rows in finished:
            start, stop = file.append(rows, name=tiled.task.picture.id)
            table.add(tiled, self.encoding, start=start, stop=stop)
            num_tiles = sum(len(tiles) for tiles in tiled.views)
            yield Step(num_images=1, num_tiles=num_tiles, num_rows=stop - start)

    def _num_lanes(self) -> int:
        return torch.get_num_threads() if self.encoding.device.type == "cpu" else 1

    def _new_decoder(self) -> Decoder:
        is_pinned = self.encoding.device.type == "cuda"
        return Decoder(self._decoding, num_workers=self._num_workers, is_pinned=is_pinned)
