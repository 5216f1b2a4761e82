"""Full batches of tiles across images, and their features dealt out to the images again."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from opticnerve.encode.decode import Tiled
from opticnerve.encode.lanes import InOrder, Lanes

_WAITING_BYTES = 64 * 2**20
"""Pixels that wait for their batch to be full, all sizes of tile together."""

See = Callable[[Tensor], Tensor]
"""From a batch of tiles of one size to (tiles, positions, dim)."""
_Size = tuple[int, int]
_Part = tuple["_Image", int, Tensor]
"""Image, number of its first tile here, tiles."""


@dataclass(slots=True)
class _Image:
    """An image whose tiles are on their way through the encoder."""

    tiled: Tiled
    features: list[Tensor | None]
    num_missing: int


@dataclass(slots=True)
class _Waiting:
    """Tiles of one size that wait for others."""

    parts: list[_Part] = field(default_factory=list[_Part])
    count: int = 0

    def take(self, count: int) -> list[_Part]:
        """Take some tiles from the front; a part may be cut in two."""
        taken: list[_Part] = []
        while count:
            image, first, tiles = self.parts.pop(0)
            if len(tiles) > count:
                self.parts.insert(0, (image, first + count, tiles[count:]))
                tiles = tiles[:count]
            taken.append((image, first, tiles))
            count -= len(tiles)
            self.count -= len(tiles)
        return taken


class Batcher:
    """Gathers tiles by size, and runs the encoder when a batch is full.

    What is in a batch depends on nothing but the images that were put in since the last flush, and their order.

    Args:
        see: the encoder.
        lanes: where it runs.
        tiles_per_call: tiles of a full batch.
        waiting_bytes: where so many bytes of pixels wait, the size with the most of them goes before its batch is full.
    """

    def __init__(self, see: See, *, lanes: Lanes, tiles_per_call: int, waiting_bytes: int = _WAITING_BYTES) -> None:
        self._see = see
        self._seen: InOrder[list[_Part], Tensor] = InOrder(lanes)
        self._tiles_per_call = tiles_per_call
        self._waiting_bytes = waiting_bytes
        self._waiting: dict[_Size, _Waiting] = {}

    def put(self, tiled: Tiled) -> Iterator[tuple[Tiled, list[Tensor]]]:
        """Add the tiles of an image.

        Args:
            tiled: with at least one tile.

        Returns:
            The images that are finished by now, each with the features of its tiles: (positions, dim), in encoder
            order.
        """
        number = sum(len(tiles) for tiles in tiled.views)
        image, first = _Image(tiled, [None] * number, number), 0
        for tiles in tiled.views:
            size = (tiles.shape[-2], tiles.shape[-1])
            waiting = self._waiting.setdefault(size, _Waiting())
            waiting.parts.append((image, first, tiles))
            waiting.count += len(tiles)
            first += len(tiles)
            while waiting.count >= self._tiles_per_call:
                yield from self._run(waiting, self._tiles_per_call)
        while sum(map(_num_bytes, self._waiting.items())) > self._waiting_bytes:
            largest = max(self._waiting.items(), key=_num_bytes)[1]
            yield from self._run(largest, largest.count)

    def flush(self) -> Iterator[tuple[Tiled, list[Tensor]]]:
        """Run what is left, in batches that are not full; returns as `put` does."""
        for waiting in self._waiting.values():
            if waiting.count:
                yield from self._run(waiting, waiting.count)
        self._waiting = {}
        yield from _deal(self._seen.flush())

    def _run(self, waiting: _Waiting, count: int) -> Iterator[tuple[Tiled, list[Tensor]]]:
        taken = waiting.take(count)
        batch = taken[0][2] if len(taken) == 1 else torch.cat([tiles for _, _, tiles in taken])
        yield from _deal(self._seen.put(taken, partial(self._see, batch)))


def _deal(seen: Iterable[tuple[list[_Part], Tensor]]) -> Iterator[tuple[Tiled, list[Tensor]]]:
    """Deal the features of batches out to their images; returns those that have all of theirs."""
    for taken, features in seen:
        start = 0
        for image, first, tiles in taken:
            for number in range(len(tiles)):
                image.features[first + number] = features[start + number]
            start += len(tiles)
            image.num_missing -= len(tiles)
            if not image.num_missing:
                yield image.tiled, [one for one in image.features if one is not None]


def _num_bytes(item: tuple[_Size, _Waiting]) -> int:
    (height, width), waiting = item
    return 3 * height * width * waiting.count
