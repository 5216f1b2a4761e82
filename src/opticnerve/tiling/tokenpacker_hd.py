"""TokenPacker-HD: the tile grid that an image fills best, padded at the bottom and right, and a small view last."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from typing_extensions import override

from opticnerve.errors import SpecError
from opticnerve.tiling.canvas import Box, Canvas, Role
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.spec import Tiling, require_image, require_rgb, require_whole

GRIDS = (
    *((1, 1), (1, 2), (2, 1), (1, 3), (3, 1), (2, 2), (1, 4), (4, 1), (1, 5), (5, 1), (1, 6), (6, 1), (2, 3), (3, 2)),
    *((1, 7), (7, 1), (4, 2), (2, 4), (1, 8), (8, 1), (3, 3), (1, 9), (9, 1), (2, 5), (5, 2), (2, 6), (6, 2), (3, 4)),
    *((4, 3), (2, 7), (7, 2), (3, 5), (5, 3), (2, 8), (8, 2), (4, 4), (3, 6), (6, 3), (2, 9), (9, 2), (4, 5), (5, 4)),
    *((2, 10), (10, 2), (3, 7), (7, 3), (11, 2), (2, 11), (4, 6), (6, 4), (12, 2), (2, 12), (3, 8), (8, 3), (5, 5)),
)
"""Rows and columns of tiles in the published order, which decides exact ties: single rows only up to 9 tiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPackerHDTiling(Tiling):
    """1 to `max_tiles` square tiles and, where there are several, a small view after them.

    Keeps the image's shape, in tiles and small view, and prefers grids near 1.4 times its sides. Loses the tiles'
    padding to empty tokens.

    Source: CircleRadon/TokenPacker, `llava/patch_divide.py` (the score: covered area + 0.1 IoU, in float32) and
    `llava/eval/model_vqa_loader.py` (the layout). What differs: the published code cuts the small view from the padded
    canvas by mistake, and resizes without antialiasing after normalisation; here it shows the image. Text between
    tiles ("," and a line break) is the prompt's business.

    Raises:
        SpecError: an option cannot be.
    """

    name: ClassVar[str] = "tokenpacker_hd"

    tile_px: int = 336
    """Side of a tile, in pixels."""
    max_tiles: int = 9
    """Most tiles, small view not counted; 9, 16 and 25 are published, and the table ends there."""
    pad_rgb: tuple[int, int, int] = (123, 117, 104)
    """Colour of the padding, 0 to 255: CLIP's mean, which is 0 after normalisation."""

    def __post_init__(self) -> None:
        require_whole(self.name, tile_px=self.tile_px, max_tiles=self.max_tiles)
        require_rgb(self.name, self.pad_rgb)
        if self.max_tiles > 25:
            raise SpecError(f'tiling "{self.name}" has grids of up to 25 tiles, got max_tiles={self.max_tiles}')

    @property
    @override
    def most_tiles(self) -> int:
        """Most tiles that any image gets, small view included."""
        return self.max_tiles + (self.max_tiles > 1)

    @override
    def plan(self, height_px: int, width_px: int) -> TilePlan:
        """Say what becomes of an image; see `Tiling.plan`."""
        require_image(height_px, width_px)
        rows, cols = self._best(height_px, width_px)
        canvases = [self._canvas(height_px, width_px, rows=rows, cols=cols)]
        if rows * cols > 1:
            canvases.append(self._canvas(height_px, width_px, role="overview"))
        return TilePlan(
            image_height_px=height_px, image_width_px=width_px, canvases=tuple(canvases), pad_rgb=self.pad_rgb
        )

    @override
    def smaller(self, plan: TilePlan) -> TilePlan | None:
        """Return the plan with fewer tiles, at last one; see `Tiling.smaller`."""
        if plan.num_tiles == 1:
            return None
        fewer = replace(self, max_tiles=max(1, plan.num_tiles - 2))
        return fewer.plan(plan.image_height_px, plan.image_width_px)

    def _best(self, height_px: int, width_px: int) -> tuple[int, int]:
        grids = [grid for grid in GRIDS if grid[0] * grid[1] <= self.max_tiles]
        sides = torch.tensor(grids, dtype=torch.float32) * self.tile_px
        area = sides.prod(dim=1)
        image = torch.tensor([height_px, width_px], dtype=torch.float32)
        scale = (sides / image).amin(dim=1)
        covered = torch.round(height_px * scale) * torch.round(width_px * scale) / area
        wish = image * 1.4
        shared = torch.minimum(sides, wish).prod(dim=1)
        overlap = shared / (area + wish.prod() - shared + 1e-5)
        return grids[int(torch.argmax(covered + overlap * 0.1))]

    def _canvas(self, height_px: int, width_px: int, *, rows: int = 1, cols: int = 1, role: Role = "tiles") -> Canvas:
        height, width = rows * self.tile_px, cols * self.tile_px
        down, across = height / height_px, width / width_px
        if down <= across:
            content = Box(top=0, left=0, height=height, width=max(1, min(width, round(width_px * down))))
        else:
            content = Box(top=0, left=0, height=max(1, min(height, round(height_px * across))), width=width)
        return Canvas(
            height_px=height, width_px=width, content=content, rows=rows, cols=cols, role=role, keeps_aspect=True
        )
