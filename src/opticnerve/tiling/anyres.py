"""LLaVA-NeXT AnyRes: pad the image to the best of a few canvases, and put a small view of it first."""

from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from opticnerve.errors import SpecError
from opticnerve.tiling.canvas import Canvas, stretched
from opticnerve.tiling.packing import Merge, Packing
from opticnerve.tiling.pinpoints import Size, best_pinpoint, centred
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.spec import Tiling, is_whole, require_claims, require_image, require_rgb, require_whole

LLAVA_NEXT_PINPOINTS: tuple[Size, ...] = ((672, 336), (336, 672), (672, 672), (336, 1008), (1008, 336))
"""LLaVA-NeXT's (1.6) canvases in its order, heights before widths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyResTiling(Tiling):
    """One stretched base view, then the tiles of the canvas that suits the image.

    Keeps the image's shape in the tiles. Loses nothing to padding: its tokens are cut away again. The base view is
    distorted to a square. LLaVA-OneVision: `tile_px=384`, `parse_pinpoints("(1x1),...,(6x6)", tile_px=384)`,
    `max_map_tiles=9`.

    Source: LLaVA-VL/LLaVA-NeXT, `llava/mm_utils.py`, `process_anyres_image`. What differs: sizes are (height, width);
    without pinpoints there is only the base view, which a budget falls back to.

    Raises:
        SpecError: an option cannot be.
    """

    name: ClassVar[str] = "anyres"

    tile_px: int = 336
    """Side of a tile and of the base view, in pixels."""
    pinpoints: tuple[Size, ...] = LLAVA_NEXT_PINPOINTS
    """Heights and widths of the canvases, in pixels; multiples of `tile_px`. The order decides exact ties: LLaVA's
    own lists are (width, height), those of transformers (height, width)."""
    merge: Merge = "spatial_unpad"
    """Order of the tokens: see `Packing`."""
    has_newline: bool = True
    """One learned vector ends each row of the map."""
    max_map_tiles: int | None = None
    """Largest map, in tiles' worth of tokens, before it shrinks (9 in LLaVA-OneVision); None never shrinks it."""
    has_base: bool = True
    """The base view's tokens come before the map."""
    rounds_unpad: bool = False
    """Round to 7 digits before flooring, as the transformers port does."""
    pad_rgb: tuple[int, int, int] = (0, 0, 0)
    """Colour of the padding, 0 to 255."""

    def __post_init__(self) -> None:
        require_whole(self.name, tile_px=self.tile_px)
        require_rgb(self.name, self.pad_rgb)
        require_claims(self.name, has_newline=self.has_newline, has_base=self.has_base, rounds_unpad=self.rounds_unpad)
        for size in self.pinpoints:
            if len(size) != 2 or any(not is_whole(side) or side < 1 or side % self.tile_px for side in size):
                raise SpecError(
                    f'tiling "{self.name}" needs pinpoints as (height, width) in multiples of {self.tile_px} px, '
                    f"got {size!r}"
                )
        _ = self.packing

    @property
    def packing(self) -> Packing:
        """How the tokens of the tiles are joined."""
        return Packing(
            merge=self.merge,
            has_newline=self.has_newline,
            max_map_tiles=self.max_map_tiles,
            has_base=self.has_base,
            rounds_unpad=self.rounds_unpad,
        )

    @property
    @override
    def most_tiles(self) -> int:
        """Most tiles that any image gets, base view included."""
        return 1 + max((self._num_tiles(size) for size in self.pinpoints), default=0)

    def _num_tiles(self, size: Size) -> int:
        return (size[0] // self.tile_px) * (size[1] // self.tile_px)

    @override
    def plan(self, height_px: int, width_px: int) -> TilePlan:
        """Say what becomes of an image; see `Tiling.plan`."""
        require_image(height_px, width_px)
        canvases = [stretched(self.tile_px, self.tile_px, role="overview")]
        if self.pinpoints:
            height, width = best_pinpoint(height_px, width_px, self.pinpoints)
            tiles = Canvas(
                height_px=height,
                width_px=width,
                content=centred(height_px, width_px, (height, width)),
                rows=height // self.tile_px,
                cols=width // self.tile_px,
                keeps_aspect=True,
            )
            canvases.append(tiles)
        return TilePlan(
            image_height_px=height_px,
            image_width_px=width_px,
            canvases=tuple(canvases),
            pad_rgb=self.pad_rgb,
            packing=self.packing,
        )

    @override
    def smaller(self, plan: TilePlan) -> TilePlan | None:
        """Return the plan among canvases with fewer tiles, at last the base view alone; see `Tiling.smaller`."""
        if plan.num_tiles == 1:
            return None
        fewer = tuple(size for size in self.pinpoints if 1 + self._num_tiles(size) < plan.num_tiles)
        return replace(self, pinpoints=fewer).plan(plan.image_height_px, plan.image_width_px)
