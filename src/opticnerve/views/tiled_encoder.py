"""From an image to the features of its tiles: tiling, then an encoder, at one scale or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from opticnerve.encoders import Encoder, Layers
from opticnerve.grid import Grid
from opticnerve.multiscale import S2Encoder, TokenEncoder
from opticnerve.tiling import TilePlan, Tiling, apply
from opticnerve.views.batch import encode_tiles, join_plan
from opticnerve.views.sight import Sight, num_scales

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
        self.sight = Sight(info=encoder.info, tiling=tiling, scales=tuple(scales))
        self.layers: Layers = layers
        self.batch_size = batch_size
        self._eye = eye(encoder, self.sight, views_per_call=batch_size)

    @property
    def tiling(self) -> Tiling:
        """How images are cut."""
        return self.sight.tiling

    @property
    def scales(self) -> tuple[float, ...]:
        """S2's multiples of the encoder's size."""
        return self.sight.scales

    @property
    def dim(self) -> int:
        """Channels of the features, all levels and scales together."""
        return self.sight.dim

    def grids(self, plan: TilePlan) -> tuple[Grid, ...]:
        """Say where the features of each tile that becomes tokens will lie, in encoder order.

        Raises:
            EncoderError: the encoder cannot take tiles of that size.
        """
        return self.sight.grids(plan)

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
        plan = self.sight.plan(image.shape[1], image.shape[2])
        grids = tuple(self.sight.grid(*batch[0].tile_px) for batch in plan.batches)
        tiles = apply(plan, image)
        tiled = perf_counter()
        batches = tuple(encode_tiles(self._eye, batch, views_per_call=self.batch_size) for batch in tiles)
        if num_scales(plan) > 1:
            batches, grids = tuple(join_plan(torch.cat(batches), [plan], grid=grids[0])), grids[:1]
        encoded = perf_counter()
        tile_ms, encode_ms = 1000 * (tiled - start), 1000 * (encoded - tiled)
        return Features(plan=plan, batches=batches, grids=grids, tile_ms=tile_ms, encode_ms=encode_ms)


def eye(encoder: Encoder, sight: Sight, *, views_per_call: int) -> TokenEncoder:
    """Put S2 around an encoder where there is more than one scale.

    Args:
        encoder: in eval mode, or training.
        sight: names the scales.
        views_per_call: most tiles that go through the encoder at once.
    """
    return encoder if sight.scales == (1,) else S2Encoder(encoder, spec=sight.s2(views_per_call=views_per_call))
