"""Cutting batches into tiles and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from opticnerve.errors import ShapeError
from opticnerve.tiling import split, stitch

small = st.integers(1, 4)


@given(batch=small, rows=small, cols=small, height=small, width=small)
def test_stitch_undoes_split_and_split_undoes_stitch(batch, rows, cols, height, width):
    images = torch.arange(batch * 2 * rows * height * cols * width).reshape(batch, 2, rows * height, cols * width)
    tiles = split(images, rows=rows, cols=cols)
    assert tiles.shape == (rows * cols * batch, 2, height, width)
    assert torch.equal(stitch(tiles, rows=rows, cols=cols), images)
    assert torch.equal(split(stitch(tiles, rows=rows, cols=cols), rows=rows, cols=cols), tiles)


def test_the_first_tile_of_every_image_comes_before_any_second():
    images = torch.stack([torch.tensor([[[0, 1], [2, 3]]]), torch.tensor([[[10, 11], [12, 13]]])])
    assert split(images, rows=2, cols=2).flatten().tolist() == [0, 10, 1, 11, 2, 12, 3, 13]


@pytest.mark.parametrize(("rows", "cols"), [(3, 1), (1, 0)])
def test_uneven_tiles_are_refused(rows, cols):
    with pytest.raises(ShapeError, match=rf"cannot cut 4 x 4 into {rows} x {cols} tiles: resize to multiples of"):
        split(torch.zeros(1, 1, 4, 4), rows=rows, cols=cols)


def test_missing_tiles_are_refused():
    with pytest.raises(ShapeError, match=r"cannot stitch 5 tiles into images of 2 x 2: give all tiles of every image"):
        stitch(torch.zeros(5, 1, 4, 4), rows=2, cols=2)
