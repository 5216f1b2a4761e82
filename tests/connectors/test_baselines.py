"""The baselines keep what they say: patches at random, and every k-th patch."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from connectors.small import GRID
from opticnerve import Grid, method
from opticnerve.connectors.blocks import EveryKth, RandomPatches, Reduction
from opticnerve.connectors.blocks.fixed_selection import even_positions, random_positions
from opticnerve.connectors.blocks.reduction import ReduceBlock
from opticnerve.errors import SpecError


def reduction_of(spec: RandomPatches | EveryKth, grid: Grid) -> Reduction:
    """What is kept of two images."""
    block = spec.build(6)
    assert isinstance(block, ReduceBlock)
    return block.reduce(torch.zeros(2, grid.size, 6), grid)


@pytest.mark.parametrize(
    ("grid", "reduction", "want"),
    [
        (Grid(4, 4), 4, [0, 2, 8, 10]),
        (Grid(4, 4), 2, [0, 2, 4, 6, 8, 10, 12, 14]),
        (Grid(4, 6), 4, [0, 2, 4, 12, 14, 16]),
        (Grid(8, 8), 16, [0, 4, 32, 36]),
        (Grid(2, 4, frames=2), 4, [0, 2, 8, 10]),
        (Grid(1, 9), 3, [0, 3, 6]),
        (Grid(9, 1), 3, [0, 3, 6]),
        (Grid(1, 1), 4, [0]),
    ],
)
def test_every_kth_patch_is_kept(grid: Grid, reduction: int, want: list[int]) -> None:
    assert EveryKth(reduction=reduction).kept(grid).tolist() == want


@pytest.mark.parametrize(
    ("reduction", "block"),
    [(1, (1, 1)), (2, (1, 2)), (5, (1, 5)), (6, (2, 3)), (9, (3, 3)), (12, (3, 4)), (16, (4, 4))],
)
@given(rows=st.integers(1, 4), cols=st.integers(1, 4), frames=st.integers(1, 2))
def test_where_blocks_fit_the_first_patch_of_each_is_kept(
    reduction: int, block: tuple[int, int], rows: int, cols: int, frames: int
) -> None:
    spec = EveryKth(reduction=reduction)
    assert spec.block == block
    grid = Grid(rows * block[0], cols * block[1], frames=frames)
    tops = range(0, frames * grid.rows, block[0])
    firsts = [top * grid.cols + left for top in tops for left in range(0, grid.cols, block[1])]
    assert spec.kept(grid).tolist() == firsts


@given(
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    high=st.integers(1, 4),
    wide=st.integers(1, 4),
    keep=st.integers(1, 9),
)
def test_even_positions_are_steps_along_the_blocks_by_hand(
    rows: int, cols: int, high: int, wide: int, keep: int
) -> None:
    grid, keep = Grid(rows, cols), min(keep, rows * cols)
    path = [
        row * cols + col
        for top in range(0, rows, high)
        for left in range(0, cols, wide)
        for row in range(top, min(top + high, rows))
        for col in range(left, min(left + wide, cols))
    ]
    want = sorted(path[number * grid.size // keep] for number in range(keep))
    assert even_positions(grid, block=(high, wide), keep=keep).tolist() == want


def test_every_kth_patch_is_spread_over_the_image_at_any_reduction() -> None:
    for reduction in (2, 3, 4, 5, 9, 16, 25):
        kept = EveryKth(reduction=reduction).kept(Grid(27, 27))
        for axis in (kept // 27, kept % 27):
            assert axis.div(9, rounding_mode="floor").bincount().tolist() == pytest.approx(
                [243 / reduction] * 3, rel=0.3
            )


def test_random_patches_are_the_same_for_a_seed_and_others_for_another() -> None:
    first, again, other = (RandomPatches(seed=seed).kept(GRID).tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert reduction_of(RandomPatches(seed=3), GRID).kept.tolist() == [first] * 2


def test_random_positions_stay_what_they_are() -> None:
    assert random_positions(16, keep=4, seed=0).tolist() == [0, 10, 11, 12]


def test_random_positions_are_those_of_exact_whole_numbers() -> None:
    def scrambled(x: int) -> int:
        for shift, factor in ((16, 0x7FEB352D), (15, 0x2C1B3C6D), (12, 0x297A2D39)):
            x = (x ^ x >> shift) * factor % 2**32
        return x ^ x >> 15

    for seed in (0, 1, 12345, 2**40):
        order = sorted(range(200), key=lambda place: scrambled((place + seed * 0x9E3779B9) % 2**32))
        assert random_positions(200, keep=50, seed=seed).tolist() == sorted(order[:50])


def test_every_patch_is_kept_about_equally_often_over_seeds() -> None:
    seeds, num, keep = 2000, 48, 12
    kept = torch.stack([random_positions(num, keep=keep, seed=seed) for seed in range(seeds)])
    counts, share = kept.flatten().bincount(minlength=num), keep / num
    spread = math.sqrt(seeds * share * (1 - share))
    assert ((counts - seeds * share).abs() < 4.5 * spread).all()
    together = torch.zeros(num, num)
    for places in kept:
        together[places[:, None], places] += 1
    share = keep * (keep - 1) / (num * (num - 1))
    spread = math.sqrt(seeds * share * (1 - share))
    pairs = together[~torch.eye(num, dtype=torch.bool)]
    assert ((pairs - seeds * share).abs() < 5 * spread).all()


@pytest.mark.parametrize("kind", [RandomPatches, EveryKth])
@given(rows=st.integers(1, 5), cols=st.integers(1, 6), frames=st.integers(1, 2), reduction=st.integers(1, 8))
def test_dropped_patches_point_to_the_nearest_kept_place(
    kind: type[RandomPatches | EveryKth], rows: int, cols: int, frames: int, reduction: int
) -> None:
    grid = Grid(rows, cols, frames=frames)
    got = reduction_of(kind(reduction=reduction), grid)
    places = torch.cartesian_prod(torch.arange(frames), torch.arange(rows), torch.arange(cols)).tolist()
    kept = got.kept[0].tolist()
    for place, merged in zip(places, got.merged[0].tolist(), strict=True):
        assert merged == min(range(len(kept)), key=lambda number: math.dist(place, places[kept[number]]))


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(SpecError, match="random_patches needs a seed of at least 0, got -1"):
        method("random_patches", seed=-1)
