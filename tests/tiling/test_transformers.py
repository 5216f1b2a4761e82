"""Tiling against the image processors of transformers, on many sizes."""

import json
import random

import pytest
import torch
from transformers.image_processing_utils import select_best_resolution
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas
from transformers.models.llava_next.modeling_llava_next import unpad_image
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from opticnerve.tiling import (
    LLAVA_NEXT_PINPOINTS,
    AnyResTiling,
    InternVLTiling,
    MiniCPMTiling,
    Packing,
    QwenTiling,
    parse_pinpoints,
)


def sizes(count, longest=4000):
    numbers = random.Random(0)
    return [(numbers.randint(1, longest), numbers.randint(1, longest)) for _ in range(count)]


def test_internvl_chooses_the_same_grid():
    for height, width in sizes(1000):
        tiles = InternVLTiling(tile_px=448).plan(height, width).canvases[0]
        assert (tiles.cols, tiles.rows) == get_optimal_tiled_canvas((height, width), (448, 448), 1, 12)


@pytest.mark.parametrize(("factor", "most"), [(28, 1003520), (32, 16777216), (28, 28 * 28 * 16)])
def test_qwen_chooses_the_same_size(factor, most):
    for height, width in sizes(1000):
        if max(height, width) / min(height, width) > 200:
            continue
        plan = QwenTiling(factor_px=factor, max_pixels=most).plan(height, width)
        assert plan.canvases[0].tile_px == smart_resize(height, width, factor, 3136, most)


@pytest.mark.parametrize(
    "pinpoints", [LLAVA_NEXT_PINPOINTS, parse_pinpoints("(1x1),...,(6x6)", tile_px=336)], ids=["v1.6", "6x6"]
)
def test_anyres_chooses_the_same_canvas(pinpoints):
    for height, width in sizes(500):
        tiles = AnyResTiling(pinpoints=pinpoints).plan(height, width).canvases[1]
        expected = select_best_resolution((height, width), json.loads(json.dumps(pinpoints)))
        assert [tiles.height_px, tiles.width_px] == list(expected)


def test_anyres_unpads_alike():
    packing = Packing(merge="spatial_unpad", rounds_unpad=True)
    for height, width in sizes(1000):
        cut_rows, cut_cols = packing.cut(48, 72, height_px=height, width_px=width)
        expected = unpad_image(torch.zeros(1, 48, 72), (height, width))
        assert (48 - 2 * cut_rows, 72 - 2 * cut_cols) == tuple(expected.shape[1:])


def test_minicpm_chooses_the_same_slices():
    processor = MiniCPMV4_6ImageProcessorPil()
    for height, width in sizes(500):
        source, *slices = MiniCPMTiling(multiple_px=56).plan(height, width).canvases
        grid = processor.get_sliced_grid((height, width), 9, 448)
        assert [[canvas.rows, canvas.cols] for canvas in slices] == ([grid] if grid else [])
        best = processor.find_best_resize((height, width), 448, 14, "16x", allow_upscale=grid is None)
        assert source.tile_px == best
        if grid:
            whole = processor.get_refine_size((height, width), grid, 448, 14, "16x", allow_upscale=True)
            assert (slices[0].height_px, slices[0].width_px) == whole
