"""Block order and raster order are inverse, and mean what they say."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from opticnerve.encoders import blocks_from_raster, raster_from_blocks
from opticnerve.errors import GridError, ShapeError
from opticnerve.grid import Grid


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_raster_and_block_order_undo_each_other(rows: int, cols: int, factor: int, frames: int, batch: int) -> None:
    grid = Grid(rows * factor, cols * factor, frames=frames)
    features = torch.arange(batch * grid.size * 2).view(batch, grid.size, 2)
    assert torch.equal(
        raster_from_blocks(blocks_from_raster(features, grid, factor=factor), grid, factor=factor), features
    )
    assert torch.equal(
        blocks_from_raster(raster_from_blocks(features, grid, factor=factor), grid, factor=factor), features
    )


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_each_run_of_a_block_is_a_square_of_the_grid(rows: int, cols: int, factor: int) -> None:
    grid = Grid(rows * factor, cols * factor)
    places = torch.cartesian_prod(torch.arange(grid.rows), torch.arange(grid.cols))[None]
    blocks = blocks_from_raster(places, grid, factor=factor)[0].view(rows * cols, factor**2, 2)
    assert (blocks // factor == blocks[:, :1] // factor).all()


def test_a_factor_of_one_changes_nothing() -> None:
    features = torch.randn(2, 6, 3)
    assert torch.equal(raster_from_blocks(features, Grid(2, 3), factor=1), features)


def test_block_order_refuses_a_grid_that_the_factor_does_not_divide() -> None:
    with pytest.raises(
        GridError, match="cannot cut into blocks a 3 x 4 grid by 2.*Resize the image so that its grid fits"
    ):
        raster_from_blocks(torch.zeros(1, 12, 1), Grid(3, 4), factor=2)


def test_block_order_refuses_features_of_another_grid() -> None:
    with pytest.raises(ShapeError, match="a 2 x 4 grid has 8 patches, got 6 features: pass the grid of these features"):
        blocks_from_raster(torch.zeros(1, 6, 1), Grid(2, 4), factor=2)


def test_block_order_refuses_prefix_tokens() -> None:
    with pytest.raises(GridError, match="block order works on places"):
        blocks_from_raster(torch.zeros(1, 9, 1), Grid(2, 4, prefix=1), factor=2)
