"""The picture shows what the plan says: as many cells as tokens, in the right places, on any image."""

import pytest
import torch
from PIL import Image

from opticnerve.explorer import Caption, draw_picture
from opticnerve.explorer.cells import Lattice, patch_lattices, token_lattices
from opticnerve.explorer.ink import ORANGE, SKY
from opticnerve.grid import Grid, Places, Queries
from opticnerve.tiling import AnyResTiling, DynamicS2Tiling, InternVLTiling, MiniCPMTiling, PlainTiling, Tiling

TILE = 64
PATCH = 8


def draw(tiling: Tiling, size: tuple[int, int], *, factor: int = 2, queries: int = 0, level: int = 128) -> Image.Image:
    image = torch.full((3, *size), level, dtype=torch.uint8)
    plan = tiling.plan(*size)
    grids = plan.token_grids(PATCH)
    places: list[Places] = [Grid(-(-grid.rows // factor), -(-grid.cols // factor)) for grid in grids]
    if queries:
        places = [Queries(queries)] * len(grids)
    caption = Caption(method="pool", source="a.png", num_features=9, num_tokens=3, details=("tiling x",))
    return draw_picture(image, plan=plan, grids=grids, places=places, caption=caption)


def count(picture: Image.Image, color: tuple[int, int, int]) -> int:
    colors = picture.getcolors(1 << 24)
    assert colors is not None
    return sum(number for number, found in colors if found == color)


def cells(lattices: list[Lattice]) -> int:
    return sum((len(one.row_edges) - 1) * (len(one.col_edges) - 1) for one in lattices)


TILINGS = [
    InternVLTiling(tile_px=TILE, max_tiles=6),
    AnyResTiling(tile_px=TILE, pinpoints=((128, 64), (64, 128), (128, 128))),
    MiniCPMTiling(scale_px=TILE, multiple_px=PATCH),
    DynamicS2Tiling(tile_px=TILE, scales_px=(64, 128, 192)),
    PlainTiling(height_px=TILE, width_px=TILE, fit="pad"),
]


@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling.name)
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (1, 2000), (2000, 1), (7, 7), (2500, 2400)])
def test_every_image_gives_a_picture_of_a_sane_size(tiling: Tiling, size: tuple[int, int]):
    picture = draw(tiling, size)
    assert picture.mode == "RGB"
    assert 900 <= picture.width <= 3000
    assert 300 <= picture.height <= 3000


@pytest.mark.parametrize("level", [0, 255])
def test_lines_are_seen_on_black_and_on_white(level: int):
    picture = draw(InternVLTiling(tile_px=TILE, max_tiles=4), (128, 128), level=level)
    assert count(picture, ORANGE) > 5000
    assert count(picture, SKY) > 2000


def test_learned_queries_have_no_cells():
    tiling = InternVLTiling(tile_px=TILE, max_tiles=4)
    with_cells, without = draw(tiling, (128, 128)), draw(tiling, (128, 128), queries=5)
    assert count(without, SKY) < count(with_cells, SKY) / 5


@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling.name)
def test_there_are_as_many_cells_as_visual_tokens(tiling: Tiling):
    plan = tiling.plan(300, 200)
    total = 0
    places: list[Grid] = []
    for canvas in plan.token_canvases:
        grid = canvas.grid(PATCH)
        out = Grid(-(-grid.rows // 2), -(-grid.cols // 2))
        total += cells(token_lattices(plan, canvas, grid, out))
        assert cells(patch_lattices(canvas, grid)) == canvas.num_tiles * grid.size
        places += [out] * canvas.num_tiles
    newlines = 0
    if plan.packing.has_newline:
        tokens_without = AnyResTiling(tile_px=TILE, pinpoints=TILINGS[1].pinpoints, has_newline=False)  # pyright: ignore
        newlines = plan.num_tokens(places) - tokens_without.plan(300, 200).num_tokens(places)
    assert total == plan.num_tokens(places) - newlines


def test_cells_hold_whole_patches_and_padding_shortens_the_last():
    plan = PlainTiling(height_px=72, width_px=64).plan(50, 50)
    canvas = plan.canvases[0]
    (lattice,) = token_lattices(plan, canvas, Grid(9, 8), Grid(5, 4))
    assert lattice.row_edges == (0, 16, 32, 48, 64, 72)
    assert lattice.col_edges == (0, 16, 32, 48, 64)


def test_cells_that_hold_no_whole_patches_are_even():
    plan = PlainTiling(height_px=64, width_px=64).plan(50, 50)
    (lattice,) = token_lattices(plan, plan.canvases[0], Grid(8, 8), Grid(5, 5))
    assert lattice.row_edges == pytest.approx((0, 12.8, 25.6, 38.4, 51.2, 64))


def test_tokens_of_cut_padding_have_no_cells():
    # 2 tiles of 4 x 4 tokens; the image fills 1.6 of their 4 rows, so that one row is cut at the top and the bottom
    plan = TILINGS[1].plan(40, 200)
    canvas = plan.canvases[-1]
    assert (canvas.height_px, canvas.width_px) == (64, 128)
    (lattice,) = token_lattices(plan, canvas, Grid(8, 8), Grid(4, 4))
    assert (lattice.top, lattice.left) == (16, 0)
    assert lattice.row_edges == (0, 16, 32)
    assert len(lattice.col_edges) == 9


def test_a_name_that_is_too_long_is_shortened():
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    plan = TILINGS[0].plan(64, 64)
    caption = Caption(method="pool", source="x" * 400 + ".png", num_features=64, num_tokens=16)
    picture = draw_picture(image, plan=plan, grids=plan.grids(PATCH), places=[Grid(4, 4)], caption=caption)
    assert picture.width == 1100
