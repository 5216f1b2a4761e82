"""TokenPacker-HD's grids."""

import pytest

from opticnerve.errors import SpecError
from opticnerve.tiling import TokenPackerHDTiling


def test_the_image_lies_at_the_top_left_and_a_small_view_comes_last():
    tiles, small = TokenPackerHDTiling().plan(600, 800).canvases
    assert (tiles.rows, tiles.cols) == (2, 3)
    assert (tiles.content.top, tiles.content.left, tiles.content.height, tiles.content.width) == (0, 0, 672, 896)
    assert (small.role, small.content.height, small.content.width) == ("overview", 252, 336)


def test_a_single_tile_has_no_small_view():
    assert TokenPackerHDTiling().plan(224, 224).num_tiles == 1


def test_more_tiles_than_the_published_table_has_are_refused():
    with pytest.raises(SpecError, match=r'"tokenpacker_hd" has grids of up to 25 tiles, got max_tiles=26'):
        TokenPackerHDTiling(max_tiles=26)
