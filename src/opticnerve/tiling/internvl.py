"""InternVL: stretch the image to the tile grid nearest to its shape, and add a thumbnail."""

from dataclasses import dataclass, replace
from typing import ClassVar

from typing_extensions import override

from opticnerve.errors import SpecError
from opticnerve.tiling.canvas import stretched
from opticnerve.tiling.plan import TilePlan
from opticnerve.tiling.ratio import nearest_grid
from opticnerve.tiling.spec import Tiling, require_claims, require_image, require_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class InternVLTiling(Tiling):
    """1 to `max_tiles` square tiles and, where there are several, a thumbnail after them.

    Keeps fine detail at a known cost. Loses the exact shape: the image is stretched, never padded, and small images
    are enlarged freely (800 x 600 becomes 12 tiles and a thumbnail).

    Source: OpenGVLab/InternVL, `internvl_chat/internvl/train/dataset.py`, `dynamic_preprocess`; 448 px and 12 tiles
    are InternVL 1.5's. What differs: `min_tiles` above `max_tiles` is refused, not taken for one tile.

    Raises:
        SpecError: an option cannot be.
    """

    name: ClassVar[str] = "internvl"

    tile_px: int = 448
    """Side of a tile, in pixels."""
    min_tiles: int = 1
    """Fewest tiles, thumbnail not counted."""
    max_tiles: int = 12
    """Most tiles, thumbnail not counted."""
    has_thumbnail: bool = True
    """Several tiles are followed by the whole image as one more tile."""

    def __post_init__(self) -> None:
        require_whole(self.name, tile_px=self.tile_px, min_tiles=self.min_tiles, max_tiles=self.max_tiles)
        require_claims(self.name, has_thumbnail=self.has_thumbnail)
        if self.min_tiles > self.max_tiles:
            raise SpecError(
                f'tiling "{self.name}" cannot make at least {self.min_tiles} and at most {self.max_tiles} tiles: '
                f"lower min_tiles or raise max_tiles"
            )

    @property
    @override
    def most_tiles(self) -> int:
        """Most tiles that any image gets, thumbnail included."""
        return self.max_tiles + (self.has_thumbnail and self.max_tiles > 1)

    @override
    def plan(self, height_px: int, width_px: int) -> TilePlan:
        """Say what becomes of an image; see `Tiling.plan`."""
        require_image(height_px, width_px)
        rows, cols = nearest_grid(
            height_px, width_px, min_tiles=self.min_tiles, max_tiles=self.max_tiles, tile_px=self.tile_px
        )
        canvases = [stretched(rows * self.tile_px, cols * self.tile_px, rows=rows, cols=cols)]
        if self.has_thumbnail and rows * cols > 1:
            canvases.append(stretched(self.tile_px, self.tile_px, role="overview"))
        return TilePlan(image_height_px=height_px, image_width_px=width_px, canvases=tuple(canvases))

    @override
    def smaller(self, plan: TilePlan) -> TilePlan | None:
        """Return the plan with the most tiles below this one's, or None; see `Tiling.smaller`."""
        if plan.num_tiles == 1:
            return None
        most = max(1, plan.num_tiles - 1 - self.has_thumbnail)
        if most < self.min_tiles:
            return None
        return replace(self, max_tiles=most).plan(plan.image_height_px, plan.image_width_px)

    def shared_by(self, num_images: int) -> "InternVLTiling":
        """Return the tiling for each image of a prompt with several: `max_tiles` is divided among them.

        Args:
            num_images: images in the prompt.

        Returns:
            A tiling with max_tiles // num_images tiles, at least 1; `min_tiles` is lowered where it must be.

        Raises:
            SpecError: there is no image.
        """
        require_whole(self.name, num_images=num_images)
        most = max(1, self.max_tiles // num_images)
        return replace(self, max_tiles=most, min_tiles=min(self.min_tiles, most))
