"""InternVL's tiles."""

import pytest

from opticnerve.errors import SpecError
from opticnerve.tiling import InternVLTiling

from .strategies import refused


def test_the_thumbnail_comes_last_and_only_with_several_tiles():
    assert [canvas.role for canvas in InternVLTiling().plan(600, 800).canvases] == ["tiles", "overview"]
    assert [canvas.role for canvas in InternVLTiling().plan(448, 448).canvases] == ["tiles"]


def test_the_worked_example_of_the_documentation_holds():
    plan = InternVLTiling().plan(600, 800)
    tiles = plan.canvases[0]
    assert (tiles.rows, tiles.cols, tiles.height_px, tiles.width_px) == (3, 4, 1344, 1792)
    assert plan.num_tiles == 13
    assert plan.num_tokens(plan.token_grids(28)) == 13 * 256


def test_images_of_a_prompt_share_the_limit():
    assert InternVLTiling(max_tiles=12).shared_by(5).max_tiles == 2
    assert InternVLTiling(max_tiles=12, min_tiles=4).shared_by(50) == InternVLTiling(max_tiles=1, min_tiles=1)


def test_a_budget_never_takes_tiles_below_the_fewest():
    tiling = InternVLTiling(min_tiles=4)
    plan = tiling.plan(600, 800)
    while (less := tiling.smaller(plan)) is not None:
        plan = less
    assert plan.canvases[0].num_tiles >= 4


def test_contradicting_limits_are_refused():
    with pytest.raises(SpecError, match=r"cannot make at least 3 and at most 2 tiles: lower min_tiles or raise max"):
        InternVLTiling(min_tiles=3, max_tiles=2)


@pytest.mark.parametrize("value", [0, 2.0, True, "12"])
def test_a_limit_is_a_whole_number(value):
    with refused(r'"internvl" needs max_tiles as a whole number of at least 1, got '):
        InternVLTiling(max_tiles=value)


def test_a_claim_is_true_or_false():
    with refused(r'"internvl" needs has_thumbnail as true or false, got \'no\''):
        InternVLTiling(has_thumbnail="no")


def test_a_limit_is_shared_by_at_least_one_image():
    with pytest.raises(SpecError, match=r"needs num_images as a whole number of at least 1, got 0"):
        InternVLTiling().shared_by(0)
