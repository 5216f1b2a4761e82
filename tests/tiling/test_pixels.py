"""Pixels of plans."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from opticnerve.errors import ImageError, ShapeError
from opticnerve.tiling import AnyResTiling, InternVLTiling, MiniCPMTiling, TokenPackerHDTiling, apply, resize, untile

from .strategies import refused, tilings


def picture(height, width, seed=0):
    """Smooth colours with some texture, laid out as decoders do: a view of (height, width, 3)."""
    noise = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 8, generator=noise)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)[0] * 200
    texture = torch.rand(3, height, width, generator=noise) * 55
    return (smooth + texture).to(torch.uint8).permute(1, 2, 0).contiguous().permute(2, 0, 1)


@settings(max_examples=60)
@given(tiling=tilings, height=st.integers(1, 300), width=st.integers(1, 300))
def test_tiles_come_as_planned_and_untile_to_the_canvases(tiling, height, width):
    plan = tiling.plan(height, width)
    batches = apply(plan, picture(height, width))
    assert [tuple(batch.shape[2:]) for batch in batches] == [group[0].tile_px for group in plan.batches]
    assert sum(len(batch) for batch in batches) == plan.num_tiles
    tiles = iter([tile for batch in batches for tile in batch])
    for canvas, whole in zip(plan.canvases, untile(plan, batches), strict=True):
        assert whole.shape == (3, canvas.height_px, canvas.width_px)
        assert whole.dtype == torch.uint8
        for box in canvas.tile_boxes:
            part = whole[:, box.top : box.top + box.height, box.left : box.left + box.width]
            assert torch.equal(part, next(tiles))


@pytest.mark.parametrize("tiling", [AnyResTiling(pad_rgb=(9, 8, 7)), TokenPackerHDTiling(pad_rgb=(9, 8, 7))])
def test_padding_has_its_colour_and_lies_around_the_image_only(tiling):
    plan = tiling.plan(200, 300)
    image = picture(200, 300)
    for canvas, whole in zip(plan.canvases, untile(plan, apply(plan, image)), strict=True):
        box = canvas.content
        inside = whole[:, box.top : box.top + box.height, box.left : box.left + box.width]
        assert torch.equal(inside, resize(image, height_px=box.height, width_px=box.width))
        outside = torch.ones(whole.shape[1:], dtype=torch.bool)
        outside[box.top : box.top + box.height, box.left : box.left + box.width] = False
        assert (whole[:, outside] == torch.tensor([[9], [8], [7]])).all()


@pytest.mark.parametrize("size", [(100, 150), (448, 448), (37, 800), (1, 640)])
def test_resizing_agrees_with_pillow_within_two_steps(size):
    image = picture(360, 500)
    pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    ours = resize(image, height_px=size[0], width_px=size[1]).permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(int) - np.asarray(pillow).astype(int)).max() <= 2


def test_an_image_of_the_right_size_is_passed_on_untouched():
    image = picture(448, 448)
    assert resize(image, height_px=448, width_px=448) is image
    assert torch.equal(apply(InternVLTiling().plan(448, 448), image)[0][0], image)


def test_views_of_different_sizes_come_in_batches_of_their_own():
    plan = MiniCPMTiling().plan(1080, 1920)
    shapes = [tuple(batch.shape) for batch in apply(plan, picture(1080, 1920))]
    assert shapes == [(1, 3, 336, 602), (8, 3, 476, 420)]


def test_an_extremely_long_image_goes_through():
    image = picture(1, 5_000)
    for tiling in (InternVLTiling(), AnyResTiling(), MiniCPMTiling(), TokenPackerHDTiling()):
        assert apply(tiling.plan(1, 5_000), image)


def test_an_image_that_was_not_planned_for_is_refused():
    with pytest.raises(ImageError, match=r"for an RGB image of 200 x 300 px, got a tensor of shape \(3, 300, 200\)"):
        apply(InternVLTiling().plan(200, 300), picture(300, 200))


def test_pixels_that_are_not_bytes_are_refused():
    with refused(r"cut from bytes, got torch\.float32: pass uint8 pixels from 0 to 255"):
        apply(InternVLTiling().plan(200, 300), torch.zeros(3, 200, 300))


def test_tiles_of_another_plan_are_refused():
    batches = apply(InternVLTiling().plan(200, 300), picture(200, 300))
    with pytest.raises(ShapeError, match=r"the plan makes batches of shape \[\(13, 3, 448, 448\)\], got \["):
        untile(InternVLTiling().plan(600, 800), batches)
