"""Joining tokens: counted and done alike."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from opticnerve.errors import GridError, ShapeError
from opticnerve.grid import Grid, Queries
from opticnerve.tiling import AnyResTiling, InternVLTiling, Packing, PlainTiling, pack, parse_pinpoints

from .strategies import refused, sides

PACKINGS = (
    Packing(),
    Packing(merge="spatial"),
    Packing(merge="spatial", has_newline=True),
    Packing(merge="spatial_unpad"),
    Packing(merge="spatial_unpad", has_newline=True),
    Packing(merge="spatial_unpad", has_newline=True, rounds_unpad=True),
    Packing(merge="spatial_unpad", has_newline=True, has_base=False),
    Packing(merge="spatial_unpad", has_newline=True, max_map_tiles=1),
    Packing(merge="spatial_unpad", has_newline=True, max_map_tiles=4),
)
NEWLINE = torch.tensor([-1.0, -1.0])


def numbered(plan, places):
    """Tokens that say where they come from: (tile, token in it)."""
    return [
        torch.stack([torch.full((place.size,), float(tile)), torch.arange(place.size, dtype=torch.float32)], dim=1)
        for tile, place in enumerate(places)
    ]


@settings(max_examples=300)
@given(packing=st.sampled_from(PACKINGS), height=sides, width=sides, side=st.integers(1, 9), first=st.booleans())
def test_as_many_tokens_come_out_as_are_counted(packing, height, width, side, first):
    tiling = AnyResTiling(tile_px=384, pinpoints=parse_pinpoints("(1x1),...,(6x6)", tile_px=384)) if first else None
    plan = replace((tiling or InternVLTiling()).plan(height, width), packing=packing)
    places = [Grid(side, side)] * plan.num_tiles
    newline = NEWLINE if packing.has_newline else None
    joined = pack(plan, numbered(plan, places), places, newline=newline)
    assert joined.shape == (plan.num_tokens(places), 2)
    assert torch.isfinite(joined).all()


def test_a_map_is_in_raster_order_with_a_newline_after_each_row():
    plan = AnyResTiling(pinpoints=((672, 672),), merge="spatial").plan(100, 100)
    places = [Grid(1, 2)] * 5
    joined = pack(plan, numbered(plan, places), places, newline=NEWLINE)
    assert joined.tolist() == [
        [0, 0], [0, 1],
        [1, 0], [1, 1], [2, 0], [2, 1], [-1, -1],
        [3, 0], [3, 1], [4, 0], [4, 1], [-1, -1],
    ]  # fmt: skip


def test_without_its_base_a_map_stands_alone_unless_the_base_is_all_there_is():
    plan = AnyResTiling(pinpoints=((672, 672),), merge="spatial", has_base=False).plan(100, 100)
    joined = pack(plan, numbered(plan, [Grid(1, 1)] * 5), [Grid(1, 1)] * 5, newline=NEWLINE)
    assert joined.tolist() == [[1, 0], [2, 0], [-1, -1], [3, 0], [4, 0], [-1, -1]]
    alone = AnyResTiling(pinpoints=(), merge="spatial", has_base=False).plan(100, 100)
    assert pack(alone, numbered(alone, [Grid(1, 1)]), [Grid(1, 1)], newline=NEWLINE).tolist() == [[0, 0], [-1, -1]]


def test_a_max_pooled_map_keeps_the_largest_of_each_2_x_2_and_drops_the_rest():
    plan = AnyResTiling(pinpoints=((336, 672),), merge="spatial_maxpool2x2", has_newline=False).plan(100, 200)
    places = [Grid(3, 3)] * 3
    joined = pack(plan, numbered(plan, places), places)
    # the map is 3 x 6: two tiles of 3 x 3 side by side; its last row is dropped
    assert joined[9:].tolist() == [[1, 4], [2, 5], [2, 5]]
    assert plan.num_tokens(places) == 9 + 3


def test_a_map_of_one_row_cannot_be_max_pooled():
    plan = AnyResTiling(pinpoints=((336, 672),), merge="spatial_maxpool2x2", has_newline=False).plan(100, 200)
    with pytest.raises(GridError, match='a map of 1 x 4 tokens has no 2 x 2 to pool: use merge="spatial"'):
        plan.num_tokens([Grid(1, 2)] * 3)


def test_padding_is_cut_away_and_an_odd_difference_keeps_one_row_more():
    plan = AnyResTiling(pinpoints=((336, 336),)).plan(50, 100)
    places = [Grid(9, 9)] * 2
    assert plan.num_tokens(places) == 81 + 5 * 10
    odd = AnyResTiling(pinpoints=((336, 336),)).plan(45, 100)
    assert odd.num_tokens(places) == 81 + 5 * 10


def test_a_large_map_shrinks_to_its_limit():
    plan = AnyResTiling(pinpoints=((1344, 1344),), max_map_tiles=4).plan(100, 100)
    places = [Grid(6, 6)] * 17
    assert plan.num_tokens(places) == 36 + 12 * 13
    tokens = [torch.full((36, 1), 3.0)] * 17
    joined = pack(plan, tokens, places, newline=torch.zeros(1))
    assert torch.equal(joined[36:49], torch.tensor([[3.0]] * 12 + [[0.0]]))


def test_a_map_just_above_its_limit_stays():
    plan = AnyResTiling(pinpoints=((1680, 672),), max_map_tiles=9).plan(250, 100)
    assert plan.num_tokens([Grid(10, 10)] * 11) == 100 + 50 * 21


def test_an_image_that_is_one_tile_ends_with_one_newline():
    plan = replace(PlainTiling().plan(50, 100), packing=AnyResTiling().packing)
    joined = pack(plan, torch.ones(1, 4, 2), [Grid(2, 2)], newline=NEWLINE)
    assert joined.tolist() == [[1, 1]] * 4 + [[-1, -1]]


def test_an_image_so_thin_that_nothing_is_left_keeps_its_base_view():
    plan = AnyResTiling().plan(1, 10_000)
    assert plan.num_tokens([Grid(4, 4)] * plan.num_tiles) == 16


def test_gradients_reach_every_token_that_is_kept_and_the_newline():
    plan = AnyResTiling(pinpoints=((336, 672),)).plan(100, 200)
    tokens = torch.rand(3, 4, 2, requires_grad=True)
    newline = torch.rand(2, requires_grad=True)
    pack(plan, tokens, [Grid(2, 2)] * 3, newline=newline).sum().backward()
    assert torch.equal(tokens.grad, torch.ones(3, 4, 2))
    assert torch.equal(newline.grad, torch.full((2,), 2.0))


def test_flat_packing_takes_learned_queries():
    plan = InternVLTiling().plan(448, 896)
    assert pack(plan, torch.ones(3, 64, 5), [Queries(64)] * 3).shape == (192, 5)


def test_rounding_first_differs_from_flooring_only_by_float_errors():
    plain, rounded = Packing(merge="spatial_unpad"), Packing(merge="spatial_unpad", rounds_unpad=True)
    different = 0
    for height in range(1, 400):
        sizes = {"height_px": height, "width_px": 400}
        one, other = plain.cut(45, 45, **sizes), rounded.cut(45, 45, **sizes)
        assert 0 <= one[0] - other[0] <= 1
        different += one != other
    assert different < 20


def test_tokens_that_do_not_fit_their_places_are_refused():
    with pytest.raises(ShapeError, match=r"tiles have \[4, 4, 4\] tokens, their places \[9, 9, 9\]: pass the connect"):
        pack(InternVLTiling().plan(448, 896), torch.ones(3, 4, 2), [Grid(3, 3)] * 3)


def test_a_missing_newline_is_refused():
    plan = AnyResTiling().plan(50, 50)
    with pytest.raises(ShapeError, match=r"the plan's packing needs a newline vector: pass newline if and only if"):
        pack(plan, torch.ones(plan.num_tiles, 4, 2), [Grid(2, 2)] * plan.num_tiles)


def test_a_newline_too_much_is_refused():
    with pytest.raises(ShapeError, match=r"the plan's packing has no newlines: pass newline if and only if"):
        pack(PlainTiling().plan(50, 50), torch.ones(1, 4, 2), [Grid(2, 2)], newline=NEWLINE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"merge": "diagonal"}, r"merge must be one of 'flat', .*'spatial_maxpool2x2', got 'diagonal'"),
        ({"has_base": False}, r'merge="flat" keeps all tiles: set has_base=True, or merge="spatial"'),
        ({"has_newline": True}, r'merge="flat" has no rows to end: set has_newline=False, or merge="spatial_unpad"'),
        ({"merge": "spatial", "max_map_tiles": 9}, r'shrinks an unpadded map, but merge is "spatial": use'),
        ({"merge": "spatial_unpad", "max_map_tiles": 0}, r"must be a whole number of at least 1, got 0; None never"),
    ],
)
def test_contradicting_options_are_refused(options, message):
    with refused(message):
        Packing(**options)
