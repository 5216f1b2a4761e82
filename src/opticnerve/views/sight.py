"""How images are seen, before anything runs: an encoder's facts, a tiling and the scales, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from opticnerve.encoders import EncoderInfo
from opticnerve.grid import Grid
from opticnerve.multiscale import S2
from opticnerve.tiling import TilePlan, Tiling, apply, tiling_from_dict


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """Answers without weights what a `TiledEncoder` answers; pickles, and round-trips through JSON.

    Raises:
        SpecError: a scale cannot be.
    """

    info: EncoderInfo
    """What is known of the encoder."""
    tiling: Tiling
    """How images are cut."""
    scales: tuple[float, ...] = (1,)
    """S2: multiples of the encoder's size at which each tile is seen."""

    def __post_init__(self) -> None:
        _ = self.s2(views_per_call=1)

    def s2(self, *, views_per_call: int) -> S2:
        """Return the scales as a specification; tiles come at the largest of them.

        Args:
            views_per_call: most tiles that go through the encoder at once.
        """
        return S2(scales=self.scales, comes_at=largest_scale(self.scales), views_per_call=views_per_call)

    @property
    def dim(self) -> int:
        """Channels of the features, all levels and scales together."""
        return self.info.dim * len(self.scales) * num_scales(self.tiling.plan(*self.info.native_px))

    def plan(self, height_px: int, width_px: int) -> TilePlan:
        """Say what becomes of an image.

        Args:
            height_px: height of the image.
            width_px: width of the image.

        Raises:
            ImageError: the tiling refuses the image.
        """
        return self.tiling.plan(height_px, width_px)

    def grid(self, height_px: int, width_px: int) -> Grid:
        """Tell where the features of one tile lie, all scales together.

        Args:
            height_px: height of the tile.
            width_px: width of the tile.

        Raises:
            EncoderError: the encoder cannot take tiles of that size.
        """
        if self.scales == (1,):
            return self.info.grid(height_px, width_px)
        return self.s2(views_per_call=1).out_grid(height_px, width_px, grid=self.info.grid)

    def grids(self, plan: TilePlan) -> tuple[Grid, ...]:
        """Say where the features of each tile that becomes tokens will lie, in encoder order.

        Args:
            plan: of one image.

        Raises:
            EncoderError: the encoder cannot take tiles of that size.
        """
        known = {canvas.tile_px: self.grid(*canvas.tile_px) for canvas in plan.token_canvases}
        return tuple(known[canvas.tile_px] for canvas in plan.token_canvases for _ in range(canvas.num_tiles))

    def views(self, image: UInt8[Tensor, "3 height width"]) -> tuple[Tensor, ...]:
        """Cut an image into what the encoder sees.

        Args:
            image: pixels, 0 to 255.

        Returns:
            uint8 (tiles, 3, height, width) in encoder order; neighbours of one size share a batch.

        Raises:
            ImageError: the tiling refuses the image.
        """
        return apply(self.plan(image.shape[1], image.shape[2]), image)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        return {"info": self.info.to_dict(), "tiling": self.tiling.to_dict(), "scales": list(self.scales)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Sight":
        """Read what `to_dict` gave.

        Args:
            data: plain values.

        Raises:
            EncoderError: the encoder's facts are not complete.
            SpecError: the tiling or a scale cannot be.
        """
        tiling = tiling_from_dict(data["tiling"])
        return Sight(info=EncoderInfo.from_dict(data["info"]), tiling=tiling, scales=tuple(data["scales"]))


def largest_scale(scales: tuple[float, ...]) -> float:
    """Return the multiple of a tile at which its pixels are needed: the largest scale, and at least 1."""
    return max([1, *scales])


def num_scales(plan: TilePlan) -> int:
    """Count the scales whose canvases become one map (dynamic S2); 1 where each tile stands for itself."""
    return len({canvas.scale for canvas in plan.canvases})
