"""Pooling into blocks that overlap where the factor does not divide the grid."""

import math

import pytest
import torch
from torch import Tensor

from opticnerve import Grid
from opticnerve.connectors.blocks import Pool
from opticnerve.errors import GridError


def _by_hand(maps: Tensor, factor: int, *, is_max: bool) -> Tensor:
    """Pool (batch, frames, rows, cols, dim) block by block."""
    rows, cols = maps.shape[2] // factor, maps.shape[3] // factor

    def ends(index: int, side: int, num: int) -> slice:
        return slice(index * side // num, math.ceil((index + 1) * side / num))

    lines: list[Tensor] = []
    for row in range(rows):
        for col in range(cols):
            block = maps[:, :, ends(row, maps.shape[2], rows), ends(col, maps.shape[3], cols)]
            lines.append(block.amax((2, 3)) if is_max else block.mean((2, 3)))
    return torch.stack(lines, dim=2).flatten(1, 2)


@pytest.mark.parametrize("mode", ["average", "max"])
@pytest.mark.parametrize(("rows", "cols", "factor"), [(4, 6, 2), (5, 7, 2), (3, 5, 2), (7, 11, 3)])
def test_it_is_the_mean_or_maximum_of_each_block(mode: str, rows: int, cols: int, factor: int) -> None:
    grid = Grid(rows, cols, frames=2)
    x = torch.randn(3, grid.size, 5, generator=torch.Generator().manual_seed(0))
    spec = Pool(factor=factor, mode=mode, odd="overlap")
    wanted = _by_hand(x.unflatten(1, (2, rows, cols)), factor, is_max=mode == "max")
    torch.testing.assert_close(spec.build(5)(x, grid), wanted)
    assert spec.out_grid(grid) == Grid(rows // factor, cols // factor, frames=2)


def test_a_grid_smaller_than_the_factor_is_refused() -> None:
    with pytest.raises(GridError, match="cannot pool a 1 x 4 grid by 2"):
        Pool(odd="overlap").out_grid(Grid(1, 4))


@pytest.mark.parametrize(
    ("rows", "cols", "out"), [(24, 24, (12, 12)), (27, 31, (12, 5)), (5, 7, (12, 12)), (1, 9, (3, 2))]
)
def test_bins_by_matrix_products_are_those_of_adaptive_pooling(rows: int, cols: int, out: tuple[int, int]) -> None:
    from opticnerve.connectors.blocks.pool import mean_bins

    grid = Grid(rows, cols, frames=2)
    features = torch.randn(2, grid.size, 6, dtype=torch.bfloat16)
    maps = features.double().view(4, rows, cols, 6).permute(0, 3, 1, 2)
    wanted = torch.nn.functional.adaptive_avg_pool2d(maps, out).permute(0, 2, 3, 1).reshape(2, -1, 6)
    found = mean_bins(features.float(), grid, rows=out[0], cols=out[1])
    torch.testing.assert_close(found.double(), wanted, atol=1e-6, rtol=1e-6)
    assert mean_bins(features, grid, rows=out[0], cols=out[1]).dtype == torch.bfloat16
