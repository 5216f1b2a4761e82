"""Full batches across images: nobody gets another's features, and nothing depends on who shares a batch."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from opticnerve.encode.batcher import Batcher
from opticnerve.encode.decode import Task, Tiled
from opticnerve.encode.lanes import Lanes
from opticnerve.encode.sources import Picture
from opticnerve.tiling import tiling

SIZES = [(4, 4), (4, 8), (8, 4)]
PLAN = tiling("plain", height_px=4, width_px=4, fit="stretch").plan(4, 4)


def image(position: int, groups: list[tuple[int, int]]) -> Tiled:
    """Tiles whose pixels name the image and the tile; `groups` are numbers of tiles and kinds of size."""
    views, first = [], 0
    for count, kind in groups:
        tiles = torch.zeros(count, 3, *SIZES[kind], dtype=torch.uint8)
        for number in range(count):
            tiles[number, 0], tiles[number, 1] = position, first + number
        views.append(tiles)
        first += count
    picture = Picture(id=str(position), path="", offset=0, num_bytes=None)
    return Tiled(
        task=Task(shard=0, position=position, picture=picture, sha256=None), plan=PLAN, views=tuple(views), sha256=""
    )


class See:
    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        self.batches.append(tuple(tiles.shape))
        return tiles.float().mean((2, 3))[:, None]


groups = st.lists(st.tuples(st.integers(1, 7), st.integers(0, 2)), min_size=1, max_size=4)


@given(st.lists(groups, max_size=12), st.integers(1, 9), st.integers(1, 4000))
def test_every_image_gets_the_features_of_its_own_tiles_in_their_order(
    images: list[list[tuple[int, int]]], tiles_per_call: int, waiting_bytes: int
) -> None:
    see = See()
    finished: dict[int, list[torch.Tensor]] = {}
    with Lanes(2) as lanes:
        batcher = Batcher(see, lanes=lanes, tiles_per_call=tiles_per_call, waiting_bytes=waiting_bytes)
        for position, own in enumerate(images):
            finished |= {tiled.task.position: features for tiled, features in batcher.put(image(position, own))}
        finished |= {tiled.task.position: features for tiled, features in batcher.flush()}
    assert sorted(finished) == list(range(len(images)))
    for position, features in finished.items():
        number = sum(count for count, _ in images[position])
        assert [tuple(one[0, :2].tolist()) for one in features] == [(position, tile) for tile in range(number)]
    assert max((shape[0] for shape in see.batches), default=0) <= tiles_per_call


@given(st.lists(st.integers(1, 7), min_size=1, max_size=20), st.integers(1, 9))
def test_tiles_of_one_size_fill_every_batch_but_the_last(counts: list[int], tiles_per_call: int) -> None:
    see = See()
    with Lanes(1) as lanes:
        batcher = Batcher(see, lanes=lanes, tiles_per_call=tiles_per_call)
        for position, count in enumerate(counts):
            list(batcher.put(image(position, [(count, 0)])))
        list(batcher.flush())
    full, rest = divmod(sum(counts), tiles_per_call)
    assert [shape[0] for shape in see.batches] == [tiles_per_call] * full + [rest] * (rest > 0)


def test_pixels_that_wait_are_bounded_where_every_image_has_another_size() -> None:
    see = See()
    with Lanes(1) as lanes:
        batcher = Batcher(see, lanes=lanes, tiles_per_call=100, waiting_bytes=3 * 4 * 4 * 10)
        for position in range(50):
            list(batcher.put(image(position, [(1, position % 3)])))
    assert sum(shape[0] for shape in see.batches) >= 40
