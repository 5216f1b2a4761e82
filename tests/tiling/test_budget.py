"""One budget for all images of a prompt."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opticnerve.errors import SpecError
from opticnerve.grid import Grid
from opticnerve.tiling import AnyResTiling, DynamicS2Tiling, InternVLTiling, QwenTiling, fit_tiles, fit_tokens

from .strategies import EXAMPLES

sizes = st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), max_size=6)
shrinking = st.sampled_from([tiling for tiling in EXAMPLES if tiling.name not in ("dynamic_s2", "qwen", "plain")])


@settings(max_examples=200)
@given(tiling=shrinking, sizes=sizes, spare=st.integers(0, 60))
def test_a_budget_is_kept_and_never_starves_an_image(tiling, sizes, spare):
    least = sum(_least(tiling, height, width) for height, width in sizes)
    plans = fit_tiles(sizes, tiling, max_tiles=least + spare)
    assert sum(plan.num_tiles for plan in plans) <= least + spare
    assert [(plan.image_height_px, plan.image_width_px) for plan in plans] == sizes
    for plan, (height, width) in zip(plans, sizes, strict=True):
        assert 1 <= plan.num_tiles <= tiling.plan(height, width).num_tiles


def _least(tiling, height, width):
    plan = tiling.plan(height, width)
    while (less := tiling.smaller(plan)) is not None:
        plan = less
    return plan.num_tiles


@settings(max_examples=100)
@given(sizes=sizes, budget=st.integers(6, 60), more=st.integers(0, 20))
def test_a_larger_budget_never_gives_less_in_total(sizes, budget, more):
    small = fit_tiles(sizes, InternVLTiling(), max_tiles=budget)
    large = fit_tiles(sizes, InternVLTiling(), max_tiles=budget + more)
    assert sum(plan.num_tiles for plan in small) <= sum(plan.num_tiles for plan in large) <= budget + more


@settings(max_examples=100)
@given(tiling=shrinking, sizes=sizes, spare=st.integers(0, 60))
def test_nothing_is_left_that_an_image_could_be_raised_by(tiling, sizes, spare):
    budget = sum(_least(tiling, height, width) for height, width in sizes) + spare
    plans = fit_tiles(sizes, tiling, max_tiles=budget)
    left = budget - sum(plan.num_tiles for plan in plans)
    for plan, (height, width) in zip(plans, sizes, strict=True):
        larger = tiling.plan(height, width)
        while larger is not None and larger.num_tiles > plan.num_tiles:
            assert larger.num_tiles - plan.num_tiles > left
            larger = tiling.smaller(larger)


def test_what_the_last_step_frees_goes_back():
    # Going down: 13 + 13 + 7, ..., 5 + 5 + 3, and last 5 + 1 + 3, which frees more than 11 and 12 need: 5 was 7 before.
    for budget in (11, 12):
        plans = fit_tiles([(600, 800), (600, 800), (3508, 2480)], InternVLTiling(), max_tiles=budget)
        assert [plan.num_tiles for plan in plans] == [7, 1, 3]


def test_what_goes_back_goes_to_the_image_with_the_fewest_tiles_first():
    plans = fit_tiles([(300, 1800), (448, 896), (600, 800), (2000, 500)], InternVLTiling(), max_tiles=15)
    assert [plan.num_tiles for plan in plans] == [6, 3, 1, 5]  # one tile is left over: 4 + 1, and not 6 + 1


def test_the_largest_image_gives_first():
    plans = fit_tiles([(448, 448), (600, 800), (448, 896)], InternVLTiling(), max_tiles=13)
    assert [plan.num_tiles for plan in plans] == [1, 7, 3]


def test_of_equals_the_later_gives_first():
    plans = fit_tiles([(600, 800)] * 3, InternVLTiling(), max_tiles=38)
    assert [plan.num_tiles for plan in plans] == [13, 13, 7]


def test_what_fits_is_left_alone():
    assert fit_tiles([(600, 800)] * 2, InternVLTiling(), max_tiles=26) == (InternVLTiling().plan(600, 800),) * 2
    assert fit_tiles([], InternVLTiling(), max_tiles=0) == ()


@settings(max_examples=60)
@given(sizes=st.lists(st.tuples(st.integers(20, 3000), st.integers(20, 3000)), min_size=1, max_size=4))
def test_a_token_budget_shrinks_smart_resize_step_by_step(sizes):
    def tokens_of(plan):
        return plan.num_tokens(plan.token_grids(28))

    plans = fit_tokens(sizes, QwenTiling(), max_tokens=250 * len(sizes), tokens_of=tokens_of)
    assert sum(map(tokens_of, plans)) <= 250 * len(sizes)


def test_a_token_budget_counts_newlines_and_padding():
    def tokens_of(plan):
        return plan.num_tokens([Grid(24, 24)] * plan.num_tiles)

    plans = fit_tokens([(600, 800), (1080, 1920)], AnyResTiling(), max_tokens=3000, tokens_of=tokens_of)
    assert [tokens_of(plan) for plan in plans] == [1368, 1608]


def test_an_impossible_budget_names_the_least():
    with pytest.raises(SpecError, match=r"3 images need at least 3 tiles, but the budget is 2: raise it to 3, or give"):
        fit_tiles([(600, 800)] * 3, InternVLTiling(), max_tiles=2)
    with pytest.raises(SpecError, match=r"1 images need at least 14 tiles, but the budget is 13: raise it to 14"):
        fit_tiles([(600, 800)], DynamicS2Tiling(), max_tiles=13)
