from opticnerve.planner.model import Separators
from opticnerve.tiling import InternVLTiling


def test_separators_are_counted_by_image_tile_and_row() -> None:
    plan = InternVLTiling(tile_px=448).plan(900, 1200)
    rows = sum(canvas.rows for canvas in plan.token_canvases)
    assert Separators(per_image=2).count(plan, token_rows=0) == 2
    assert Separators(per_tile=1).count(plan, token_rows=0) == plan.num_tiles == 13
    assert Separators(per_tile_row=1).count(plan, token_rows=0) == rows
    assert Separators(per_token_row=1).count(plan, token_rows=7) == 7
    assert Separators(if_tiled=3).count(plan, token_rows=0) == 3
    assert Separators(if_tiled=3).count(InternVLTiling(tile_px=448, max_tiles=1).plan(9, 9), token_rows=0) == 0
