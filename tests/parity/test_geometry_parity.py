"""Tiling against recorded outputs of the published code: every field of every case.

OPTICNERVE_GOLDEN names another folder of recordings; it may lack any method, but must not have an unknown one.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from opticnerve.grid import Grid
from opticnerve.tiling import (
    AnyResTiling,
    DynamicS2Tiling,
    InternVLTiling,
    MiniCPMTiling,
    QwenTiling,
    TokenPackerHDTiling,
    pack,
    parse_pinpoints,
)

GOLDEN = Path(os.environ.get("OPTICNERVE_GOLDEN") or Path(__file__).parents[1] / "golden")
TOLERANCE = 2e-5


def internvl(case, _):
    plan = InternVLTiling(
        tile_px=case["image_size"],
        min_tiles=case["min_num"],
        max_tiles=case["max_num"],
        has_thumbnail=case["use_thumbnail"],
    ).plan(case["height"], case["width"])
    tiles = plan.canvases[0]
    return {
        "grid_cols_rows": [tiles.cols, tiles.rows],
        "has_thumbnail": plan.canvases[-1].role == "overview",
        "num_images": plan.num_tiles,
        "target_wh": [tiles.width_px, tiles.height_px],
        "tokens_256_per_tile": plan.num_tokens([Grid(16, 16)] * plan.num_tiles),
    }


def anyres(case, recording):
    side = case["patch_size"]
    given = recording["pinpoint_sets"][case["pinpoints"]]
    plan = AnyResTiling(
        tile_px=side, pinpoints=parse_pinpoints(given if isinstance(given, str) else json.dumps(given), tile_px=side)
    ).plan(case["height"], case["width"])
    base, tiles = plan.canvases
    box = tiles.content
    size = {"height_px": case["height"], "width_px": case["width"]}
    rows, cols = plan.packing.map_size(24 * tiles.rows, 24 * tiles.cols, tile_rows=24, **size)
    assert base.role == "overview"
    assert base.tile_px == tiles.tile_px == (side, side)
    return {
        "best_resolution_wh": [tiles.width_px, tiles.height_px],
        "content_bbox_in_canvas": [box.left, box.top, box.left + box.width, box.top + box.height],
        "images_with_base": plan.num_tiles,
        "tile_grid_wh": [tiles.cols, tiles.rows],
        "tiles": tiles.num_tiles,
        "tokens_spatial_unpad_24grid": plan.num_tokens([Grid(24, 24)] * plan.num_tiles),
        "unpad_hw_24grid": [rows, cols],
    }


def minicpm(case, _):
    plan = MiniCPMTiling(
        max_slices=case["max_slice_nums"], scale_px=case["scale_resolution"], multiple_px=case["patch_size"]
    ).plan(case["height"], case["width"])
    source, *slices = plan.canvases
    return {
        "best_grid_cols_rows": [slices[0].cols, slices[0].rows] if slices else None,
        "num_slices": slices[0].num_tiles if slices else 0,
        "slice_wh": list(reversed(slices[0].tile_px)) if slices else None,
        "source_image_wh": [source.width_px, source.height_px],
    }


def qwen(case, _):
    tiling = QwenTiling(factor_px=case["factor"], min_pixels=case["min_pixels"], max_pixels=case["max_pixels"])
    plan = tiling.plan(case["height"], case["width"])
    return {
        "merged_tokens": plan.num_tokens(plan.grids(case["factor"])),
        "resized_wh": [plan.canvases[0].width_px, plan.canvases[0].height_px],
    }


def tokenpacker(case, _):
    plan = TokenPackerHDTiling(tile_px=case["image_size"], max_tiles=case["patch_num"]).plan(
        case["height"], case["width"]
    )
    return {"grid_rows_cols": [plan.canvases[0].rows, plan.canvases[0].cols]}


def dynamic_s2(case, _):
    plan = DynamicS2Tiling(
        tile_px=case["image_size"], scales_px=tuple(case["s2_scales"]), max_tiles=case["max_num"]
    ).plan(case["height"], case["width"])
    return {
        "block_size_rows_cols": [plan.canvases[-1].rows, plan.canvases[-1].cols],
        "num_tiles": plan.num_tiles,
    }


ADAPTERS: dict[str, tuple[Callable, set[str]]] = {
    "internvl_dynamic_preprocess": (internvl, {"image_size", "min_num", "max_num", "use_thumbnail"}),
    "llava_next_anyres": (anyres, {"patch_size", "pinpoints"}),
    "minicpmv_slice_image": (minicpm, {"max_slice_nums", "scale_resolution", "patch_size"}),
    "qwen2vl_smart_resize": (qwen, {"factor", "min_pixels", "max_pixels"}),
    "tokenpacker_hd_patch_divide": (tokenpacker, {"image_size", "patch_num"}),
    "vila_dynamic_s2_preprocess": (dynamic_s2, {"image_size", "s2_scales", "max_num"}),
}
"""Method of the recording -> what we plan for a case, and the fields that are the case's parameters."""


def index():
    return json.loads((GOLDEN / "INDEX.json").read_text())


def geometry_cases():
    for entry in index().get("geometry_cases", []):
        recording = json.loads((GOLDEN / entry["file"]).read_text())
        for number, case in enumerate(recording["cases"]):
            name = f"{entry['method']}-{number}-{case.get('width')}x{case.get('height')}"
            yield pytest.param(entry["method"], case, recording, id=name)


def pack_cases():
    for entry in index()["tensor_cases"]:
        if entry["method"] == "llava_anyres_pack":
            yield pytest.param(entry, id=entry["file"])


def test_every_recorded_method_of_geometry_has_an_adapter():
    assert {entry["method"] for entry in index().get("geometry_cases", [])} <= set(ADAPTERS)


@pytest.mark.parametrize(("method", "case", "recording"), [*geometry_cases()])
def test_every_recorded_field_is_planned_alike(method, case, recording):
    adapter, parameters = ADAPTERS[method]
    expected = {key: value for key, value in case.items() if key not in parameters | {"height", "width"}}
    assert adapter(case, recording) == expected


@pytest.mark.parametrize("entry", [*pack_cases()])
def test_anyres_tokens_are_joined_alike(entry):
    config = entry["config"]
    tensors = load_file(GOLDEN / entry["file"])
    merge, aspect = config["mm_patch_merge_type"], config["image_aspect_ratio"]
    newline = tensors.get("weights.image_newline") if "unpad" in merge else None
    tile_px = config["vision_image_size"]
    pinpoints = config["grid_pinpoints"]
    tiling = AnyResTiling(
        tile_px=tile_px,
        pinpoints=parse_pinpoints(pinpoints if isinstance(pinpoints, str) else json.dumps(pinpoints), tile_px=tile_px),
        merge=merge.removesuffix("_nobase"),
        has_base=not merge.endswith("_nobase"),
        has_newline=newline is not None,
        # the reference shrinks only what it unpads, whatever the name of the aspect says
        max_map_tiles=int(aspect.removeprefix("anyres_max_")) if "anyres_max_" in aspect and "unpad" in merge else None,
    )
    for number, image in enumerate(config["images"]):
        width, height = image["image_size_wh"]
        tiles, expected = tensors[f"input.{number}"], tensors[f"output.{number}"]
        single = len(tiles) == 1
        plan = replace(tiling, pinpoints=()) if single else tiling
        plan = plan.plan(height, width)
        places = [Grid(config["grid_per_tile"], config["grid_per_tile"])] * plan.num_tiles
        joined = pack(plan, tiles, places, newline=newline)
        if not single and image.get("tile_grid_wh"):  # of no use to merge "flat", and then not always recorded
            assert [plan.canvases[1].cols, plan.canvases[1].rows] == image["tile_grid_wh"]
        assert plan.num_tokens(places) == image["tokens"] == len(expected)
        assert joined.shape == expected.shape
        torch.testing.assert_close(joined, expected, rtol=0, atol=TOLERANCE * max(1, expected.abs().max()))
