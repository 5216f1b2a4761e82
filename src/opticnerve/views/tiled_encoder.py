"""From an image to the features of its tiles: tiling, then an encoder, at one scale or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from opticnerve.encoders import Encoder, Layers
from opticnerve.grid import Grid
from opticnerve.multiscale import S2, DynamicS2, S2Encoder
from opticnerve.tiling import TilePlan, Tiling, apply, split

Batch = Float[Tensor, "_ _ dim"]
"""Features of tiles of one size: (tiles, positions, dim)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What the encoder gave for one image."""

    plan: TilePlan
    """What became of the image."""
    batches: tuple[Batch, ...]
    """Features that reach the connector, in encoder order; neighbouring tiles of one size share a batch."""
    grids: tuple[Grid, ...]
    """Where the features of each batch lie."""
    tile_ms: float
    """Milliseconds for resizing and cutting."""
    encode_ms: float
    """Milliseconds for the encoder, normalisation included."""


class TiledEncoder:
    """A tiling and an encoder: everything that happens to an image before the connector.

    A plan with canvases of several scales (dynamic S2) gives features on its output scale only, with the channels of
    all; `scales` does the same to each tile.

    Args:
        encoder: in eval mode.
        tiling: its tiles must have sizes that the encoder takes.
        scales: S2: each tile is seen at these multiples of a size that the encoder takes, and the features stand side
            by side. Tiles come at the largest of them, and shrink for the others: every scale sees pixels of the image.
        layers: what the encoder was loaded with, as a record for the files.
        batch_size: most tiles that go through the encoder at once.

    Raises:
        SpecError: a scale cannot be.
    """

    def __init__(
        self,
        encoder: Encoder,
        tiling: Tiling,
        *,
        scales: Sequence[float] = (1,),
        layers: Layers = "last",
        batch_size: int = 8,
    ) -> None:
        self.encoder = encoder
        self.tiling = tiling
        self.scales = tuple(scales)
        self.layers: Layers = layers
        self.batch_size = batch_size
        s2 = S2(scales=self.scales, comes_at=largest_scale(self.scales), views_per_call=batch_size)
        self._eye = encoder if self.scales == (1,) else S2Encoder(encoder, spec=s2)

    @property
    def dim(self) -> int:
        """Channels of the features, all levels and scales together."""
        return self._eye.dim * _num_scales(self.tiling.plan(*self.encoder.native_px))

    def grids(self, plan: TilePlan) -> tuple[Grid, ...]:
        """Say where the features of each tile that becomes tokens will lie, in encoder order.

        Raises:
            EncoderError: the encoder cannot take tiles of that size.
        """
        sizes = [canvas.tile_px for canvas in plan.token_canvases for _ in range(canvas.num_tiles)]
        known = {size: self._eye.grid(*size) for size in dict.fromkeys(sizes)}
        return tuple(known[size] for size in sizes)

    def boxes(self, plan: TilePlan) -> tuple[tuple[float, float, float, float], ...]:
        """Say what each of those tiles shows: top, left, bottom, right in pixels of the image."""
        scales = [canvas.scale for canvas in plan.canvases for _ in range(canvas.num_tiles)]
        pairs = zip(scales, plan.image_boxes, strict=True)
        return tuple(box for scale, box in pairs if scale == plan.output_scale)

    def flops(self, plan: TilePlan) -> int:
        """Count the operations of the encoder for one image."""
        return sum(canvas.num_tiles * self._eye.flops(*canvas.tile_px) for canvas in plan.canvases)

    @torch.inference_mode()
    def encode(self, image: UInt8[Tensor, "3 height width"]) -> Features:
        """Cut an image into tiles and run the encoder on them.

        Args:
            image: pixels, 0 to 255.

        Raises:
            ImageError: the tiling refuses the image.
            EncoderError: the encoder cannot take tiles of that size.
        """
        start = perf_counter()
        plan = self.tiling.plan(image.shape[1], image.shape[2])
        grids = tuple(self._eye.grid(*batch[0].tile_px) for batch in plan.batches)
        tiles = apply(plan, image)
        tiled = perf_counter()
        batches = tuple(self._run(batch) for batch in tiles)
        if _num_scales(plan) > 1:
            batches, grids = self._joined(plan, batches, grids[0]), grids[:1]
        encoded = perf_counter()
        tile_ms, encode_ms = 1000 * (tiled - start), 1000 * (encoded - tiled)
        return Features(plan=plan, batches=batches, grids=grids, tile_ms=tile_ms, encode_ms=encode_ms)

    def _run(self, tiles: UInt8[Tensor, "tiles 3 height width"]) -> Batch:
        chunks = torch.split(tiles, self.batch_size)
        return torch.cat([cast("Tensor", self._eye(self._eye.normalise(some))) for some in chunks])

    def _joined(self, plan: TilePlan, batches: Sequence[Tensor], grid: Grid) -> tuple[Tensor, ...]:
        """Join the scales on the channels, and cut the map of the output scale into its tiles again."""
        scales = DynamicS2(num_scales=_num_scales(plan), resize_to=plan.output_scale)
        tiles = tuple((canvas.rows, canvas.cols) for canvas in plan.canvases)
        (whole,) = scales.merge(torch.cat(list(batches)), images=[tiles], tile=grid)
        rows, cols = scales.out_tiles(tiles)
        return (rearrange(split(whole, rows=rows, cols=cols), "tiles dim h w -> tiles (h w) dim"),)


def largest_scale(scales: Sequence[float]) -> float:
    """Return the multiple of a tile at which its pixels are needed: the largest scale, and at least 1."""
    return max([1, *scales])


def _num_scales(plan: TilePlan) -> int:
    return len({canvas.scale for canvas in plan.canvases})
