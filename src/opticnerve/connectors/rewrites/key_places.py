"""What the places of the keys add to a linear function of them, without a product for each image."""

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float, Float64
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.positions import resize_table, sincos_table
from opticnerve.connectors.blocks.resampler import ResamplerBlock
from opticnerve.connectors.rewrites.through_norm import hold, wide
from opticnerve.grid import Grid

_LONGEST_SIDE = 256
"""Patches of a side for which lines are held; for longer sides the product is made on the way."""

Map = Callable[[ResamplerBlock], Float64[Tensor, "columns dim"]]
"""The linear function, made from a resampler's weights."""


class KeyPlaces(nn.Module):
    """A linear map of the positions of the keys: held for one grid, and quick for all others.

    A resized table may be mapped first and resized then, since one works on channels and the other on places. A
    computed table is a line of columns beside a line of rows, so two mapped lines add up to it.
    """

    mapped: Float[Tensor, "positions columns"]
    across: Float[Tensor, "sides columns"]
    down: Float[Tensor, "sides columns"]
    at: Float[Tensor, "places columns"]

    def __init__(self, block: ResamplerBlock, grid: Grid, linear_map: Map) -> None:
        """Map the positions.

        Args:
            block: the resampler.
            grid: the one that is held.
            linear_map: the map.
        """
        super().__init__()
        self.held = (grid.rows, grid.cols)
        self.linear_map = linear_map
        self.is_resized = block.spec.key_positions == "resized"
        weight, like = linear_map(block), block.queries
        hold(self, "at", wide(block.key_table(grid)) @ weight.T, like=like)
        if self.is_resized:
            hold(self, "mapped", wide(block.table) @ weight.T, like=like)
            return
        dim, half = weight.shape[1], weight.shape[1] // 2
        across = sincos_table(rows=1, cols=_LONGEST_SIDE, dim=dim, device=weight.device)[:, :half]
        down = sincos_table(rows=_LONGEST_SIDE, cols=1, dim=dim, device=weight.device)[:, half:]
        hold(self, "across", wide(across) @ weight[:, :half].T, like=like)
        hold(self, "down", wide(down) @ weight[:, half:].T, like=like)

    @override
    def forward(self, grid: Grid, block: ResamplerBlock) -> Float[Tensor, "places columns"]:
        """Return the map of the positions of one frame.

        Args:
            grid: where the keys lie.
            block: the resampler.
        """
        rows, cols = grid.rows, grid.cols
        if (rows, cols) == self.held:
            return self.at
        if not self.is_resized and max(rows, cols) <= _LONGEST_SIDE:
            return rearrange(self.down[:rows, None] + self.across[:cols], "h w c -> (h w) c")
        # a table is resized in float32, which in float64 is not the same before the map and after it
        if self.is_resized and self.at.dtype != torch.float64:
            table_rows, table_cols = block.spec.query_grid
            return resize_table(self.mapped, rows=table_rows, cols=table_cols, out_rows=rows, out_cols=cols)
        return (wide(block.key_table(grid)) @ self.linear_map(block).T).to(self.at)


def key_weight(block: ResamplerBlock) -> Float64[Tensor, "dim dim"]:
    """Return the map from positions to keys."""
    return wide(block.attention.key.weight)
