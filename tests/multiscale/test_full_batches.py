"""Tiles of all scales fill the encoder's calls evenly, and are pooled before they are stitched."""

from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from s2wrapper import forward as published
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from opticnerve.grid import Grid
from opticnerve.multiscale import S2, s2_features
from opticnerve.multiscale.maps import area_resize, pool_tiles, pooling_factors, stitch_map

PATCH = 4


def means(pixels: Tensor) -> Tensor:
    return functional.avg_pool2d(pixels, PATCH).flatten(2).transpose(1, 2)


def grid(height_px: int, width_px: int) -> Grid:
    return Grid(height_px // PATCH, width_px // PATCH)


@settings(deadline=None, max_examples=60)
@given(
    scales=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    batch=st.integers(1, 3),
    views_per_call=st.one_of(st.integers(1, 12), st.sampled_from(["scale", "all"])),
    resize_to=st.integers(-1, 0),
)
def test_calls_are_as_few_as_can_be_and_as_even(
    scales: list[int], batch: int, views_per_call: int | str, resize_to: int
) -> None:
    spec = S2(scales=tuple(scales), views_per_call=views_per_call, resize_to=resize_to)  # pyright: ignore
    images = torch.randn(batch, 3, 8, 16, generator=torch.Generator().manual_seed(0))
    calls: list[int] = []

    def counted(pixels: Tensor) -> Tensor:
        calls.append(len(pixels))
        return means(pixels)

    features = s2_features(spec, counted, images, grid=grid)
    total = batch * spec.num_views(8, 16)
    most = {"all": total, "scale": batch * max(scale**2 for scale in scales)}.get(str(views_per_call), views_per_call)
    assert len(calls) == -(-total // int(most))
    assert sum(calls) == total
    assert max(calls) - min(calls) <= 1
    together = S2(scales=tuple(scales), views_per_call="all", resize_to=resize_to)
    torch.testing.assert_close(features, s2_features(together, means, images, grid=grid), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    tile=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    factors=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    tiles=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_pooling_tiles_equals_resizing_their_map(
    tile: tuple[int, int], factors: tuple[int, int], tiles: tuple[int, int], dtype: torch.dtype
) -> None:
    own = Grid(tile[0] * factors[0], tile[1] * factors[1])
    (rows, cols), (down, right) = tiles, factors
    features = torch.randn(2 * rows * cols, own.size, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    wanted = area_resize(stitch_map(features, own, rows=rows, cols=cols), rows=tile[0] * rows, cols=tile[1] * cols)
    sizes = {"rows": rows, "cols": cols, "out_rows": tile[0] * rows, "out_cols": tile[1] * cols}
    assert pooling_factors(own, **sizes) == factors
    pooled = pool_tiles(features, own, down=down, right=right)
    given = stitch_map(pooled, Grid(*tile), rows=rows, cols=cols)
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("tile", "tiles", "out"),
    [
        (Grid(14, 14), (3, 3), (14, 14)),  # areas cross the borders of tiles
        (Grid(4, 4), (2, 2), (16, 16)),  # a finer map is wanted
        (Grid(4, 4), (2, 2), (3, 3)),  # areas overlap
        (Grid(4, 6), (1, 2), (2, 5)),
    ],
)
def test_tiles_are_left_alone_where_their_areas_do_not_fit(
    tile: Grid, tiles: tuple[int, int], out: tuple[int, int]
) -> None:
    factors = pooling_factors(tile, rows=tiles[0], cols=tiles[1], out_rows=out[0], out_cols=out[1])
    assert factors == (1, 1)


def wide(pixels: Tensor) -> Tensor:
    """Many channels, so that features weigh more than pixels."""
    return means(pixels).repeat(1, 1, 64)


def peak_bytes(work: object) -> int:
    assert callable(work)
    work()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


@pytest.mark.parametrize("scales", [(1, 2), (1, 2, 3), (1, 2, 4)])
def test_memory_is_no_more_than_the_original_takes(scales: tuple[int, ...]) -> None:
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    spec = S2(scales=scales)
    torch.testing.assert_close(
        s2_features(spec, wide, images, grid=grid), published(wide, images, scales=list(scales)), rtol=0, atol=1e-5
    )
    ours = peak_bytes(lambda: s2_features(spec, wide, images, grid=grid))
    assert ours <= peak_bytes(lambda: published(wide, images, scales=list(scales)))
