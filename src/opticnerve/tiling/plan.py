"""What becomes of one image: the canvases it is resized to, their tiles, and the tokens that come of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from opticnerve.errors import GridError
from opticnerve.grid import Grid, Places, Queries
from opticnerve.tiling.canvas import Box, Canvas
from opticnerve.tiling.packing import Packing


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """Everything that is done to one image before the encoder, and how its tokens are joined after the connector.

    Raises:
        GridError: there is no canvas, or none has the output scale.
    """

    image_height_px: int
    """Height of the image as it came, in pixels."""
    image_width_px: int
    """Width of the image as it came, in pixels."""
    canvases: tuple[Canvas, ...]
    """Canvases in the order in which the encoder sees them; their tiles row by row."""
    pad_rgb: tuple[int, int, int] = (0, 0, 0)
    """Colour of the padding, 0 to 255."""
    packing: Packing = field(default_factory=Packing)
    """How the visual tokens of the tiles are joined."""
    output_scale: int = 0
    """The scale whose tiles become tokens; the others' features are resized to it and added as channels (S2)."""

    def __post_init__(self) -> None:
        if not self.token_canvases:
            raise GridError(f"a plan needs a canvas of scale {self.output_scale}: {len(self.canvases)} canvases given")

    @property
    def num_tiles(self) -> int:
        """Tiles that the encoder sees, overview included."""
        return sum(canvas.num_tiles for canvas in self.canvases)

    @property
    def token_canvases(self) -> tuple[Canvas, ...]:
        """Canvases whose tiles become tokens: all, unless there are several scales."""
        return tuple(canvas for canvas in self.canvases if canvas.scale == self.output_scale)

    @property
    def batches(self) -> tuple[tuple[Canvas, ...], ...]:
        """Neighbouring canvases whose tiles have the same size, so that they fit one batch."""
        return tuple(tuple(group) for _, group in groupby(self.canvases, key=lambda canvas: canvas.tile_px))

    @property
    def image_boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """What each tile shows: (top, left, bottom, right) in pixels of the image, in encoder order.

        Padding shows nothing of the image: boxes end at its border, and a tile that is all padding has no area.
        """
        return tuple(self._on_image(canvas, box) for canvas in self.canvases for box in canvas.tile_boxes)

    def _on_image(self, canvas: Canvas, box: Box) -> tuple[float, float, float, float]:
        down = self.image_height_px / canvas.content.height
        right = self.image_width_px / canvas.content.width
        top, left = box.top - canvas.content.top, box.left - canvas.content.left
        rows = (top * down, (top + box.height) * down)
        cols = (left * right, (left + box.width) * right)
        y0, y1 = (min(max(y, 0.0), float(self.image_height_px)) for y in rows)
        x0, x1 = (min(max(x, 0.0), float(self.image_width_px)) for x in cols)
        return y0, x0, y1, x1

    def grids(self, patch_px: int) -> tuple[Grid, ...]:
        """Return the grid of patches of each tile that the encoder sees, in its order.

        Args:
            patch_px: side of the encoder's patches, in pixels.
        """
        return tuple(canvas.grid(patch_px) for canvas in self.canvases for _ in range(canvas.num_tiles))

    def token_grids(self, patch_px: int) -> tuple[Grid, ...]:
        """Return the grids that reach the connector: `grids`, or those of the output scale where there are several.

        Args:
            patch_px: side of the encoder's patches, in pixels.
        """
        return tuple(canvas.grid(patch_px) for canvas in self.token_canvases for _ in range(canvas.num_tiles))

    def num_tokens(self, places: Sequence[Places]) -> int:
        """Count the visual tokens of the image, newlines included; text between tiles is the prompt's business.

        Args:
            places: where the connector's tokens lie, for each of `token_grids`.

        Raises:
            GridError: not one place a tile, or learned queries where a map is needed.
        """
        self.check_places(places)
        packing = self.packing
        if packing.merge == "flat" or len(places) == 1:
            return sum(place.size for place in places) + packing.has_newline
        total, start = 0, 0
        for canvas in self.token_canvases:
            place = places[start]
            start += canvas.num_tiles
            if canvas.role == "overview":
                total += place.size if packing.has_base else 0
                continue
            grid = place.spatial(f'merge="{packing.merge}"')
            rows, cols = packing.map_size(
                canvas.rows * grid.rows,
                canvas.cols * grid.cols,
                tile_rows=grid.rows,
                height_px=self.image_height_px,
                width_px=self.image_width_px,
            )
            total += rows * (cols + packing.has_newline)
        return total

    def check_places(self, places: Sequence[Places]) -> None:
        """Refuse places that do not belong to the tiles of this plan.

        Args:
            places: where the connector's tokens lie, one for each of `token_grids`.

        Raises:
            GridError: the count differs, tiles of one canvas have different places, or queries are to lie on a map.
        """
        needed = sum(canvas.num_tiles for canvas in self.token_canvases)
        if len(places) != needed:
            raise GridError(f"the plan has {needed} tiles with tokens, got {len(places)} places: give one for each")
        if self.packing.merge != "flat" and needed > 1 and any(isinstance(place, Queries) for place in places):
            raise GridError(
                f'the tiling lays visual tokens on a map (merge="{self.packing.merge}"), but learned queries lie '
                f'nowhere: set the tiling\'s merge="flat" and has_newline=False, or take a connector that keeps a grid'
            )
        start = 0
        for canvas in self.token_canvases:
            if len(set(places[start : start + canvas.num_tiles])) != 1:
                raise GridError("tiles of one canvas have the same size: give all of them the same grid")
            start += canvas.num_tiles
