"""From tiles to what is stored of an image: encoder and connector with their weights, on one device."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from opticnerve.encoders import Encoder, weights_sha256
from opticnerve.grid import Grid, Places
from opticnerve.multiscale import TokenEncoder
from opticnerve.tiling import TilePlan
from opticnerve.views import Sight, eye
from opticnerve.views.batch import join_plan
from opticnerve.views.sight import num_scales
from opticnerve.vlm import Projector

if TYPE_CHECKING:
    from opticnerve.encode.settings import EncodeSettings

_TILES_ON_CPU, _TILES_ON_GPU = 4, 32
"""Of a batch: what took the least time on a CPU, for each core; on a GPU nothing was measured."""

Place = tuple[int, int, int, int]
"""Rows, columns, frames and prefix tokens of a tile; learned queries have 0, 0, 0 and their number."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What `EncodeSettings.load` loads."""

    encoder: Encoder
    """In eval mode."""
    sight: Sight
    """How images are seen."""
    projector: Projector | None
    """The connector; None where features are kept."""
    weights: str
    """Where the connector's weights are from, in words."""
    settings: "EncodeSettings"
    """What all this was loaded from."""
    device: torch.device
    """Where it computes."""

    @cached_property
    def dim(self) -> int:
        """Width of a row that is stored."""
        if self.projector is None:
            return self.sight.dim
        connector = self.projector.connector
        return connector.spec.out_dim(vision_dim=connector.vision_dim, llm_dim=connector.llm_dim)

    @property
    def tiles_per_call(self) -> int:
        """Tiles that go through the encoder at once."""
        on_device = _TILES_ON_CPU if self.device.type == "cpu" else _TILES_ON_GPU
        return self.settings.tiles_per_call or on_device

    @cached_property
    def _eye(self) -> TokenEncoder:
        return eye(self.encoder, self.sight, views_per_call=self.tiles_per_call)

    @torch.inference_mode()
    def see(self, tiles: UInt8[Tensor, "tiles 3 height width"]) -> Float[Tensor, "tiles positions dim"]:
        """Run the encoder on one batch of tiles of one size.

        Args:
            tiles: pixels, 0 to 255, on the CPU; as many as go through the encoder at once, or fewer.
        """
        # Channels last: convolutions on a CPU take a tenth less time.
        near = tiles.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        with self._autocast():
            return self._eye(self._eye.normalise(near))

    @torch.inference_mode()
    def finish(self, tiles: Sequence[Float[Tensor, "positions _"]], plan: TilePlan) -> Float[Tensor, "rows dim"]:
        """Make what is stored of an image from the features of all its tiles.

        Args:
            tiles: features of each tile, in encoder order.
            plan: of the image.

        Raises:
            GridError: the connector cannot take a grid.
        """
        if num_scales(plan) > 1:
            grid = self.sight.grid(*plan.canvases[0].tile_px)
            packed = join_plan(torch.stack(list(tiles)), [plan], grid=grid)[0].flatten(0, 1)
        else:
            packed = torch.cat(list(tiles))
        if self.projector is None:
            return packed
        with self._autocast():
            return self.projector(packed, [plan])[0]

    def grids(self, plan: TilePlan) -> list[Place]:
        """Say where the features of each tile lie."""
        return [_place(grid) for grid in self.sight.grids(plan)]

    def out_grids(self, plan: TilePlan) -> list[Place]:
        """Say where the visual tokens of each tile lie before they are joined; its features where these are kept."""
        if self.projector is None:
            return self.grids(plan)
        return [_place(self.projector.connector.spec.out_grid(grid)) for grid in self.sight.grids(plan)]

    def describe(self) -> dict[str, Any]:
        """Say everything that a stored image depends on besides its pixels, ready for JSON."""
        settings = self.settings
        about: dict[str, Any] = {
            "keep": settings.keep,
            "dtype": settings.dtype,
            "precision": settings.precision,
            "max_pixels": settings.max_pixels,
            "encoder_sha256": weights_sha256(self.encoder),
            "levels": list(getattr(self.encoder, "levels", ())),
            "dim": self.dim,
        }
        if self.projector is not None:
            connector = self.projector.connector
            about["connector"] = connector.spec.to_dict()
            about["llm_dim"] = connector.llm_dim
            about["weights"] = self.weights
            about["connector_sha256"] = weights_sha256(self.projector)
        return about

    def _autocast(self) -> Any:  # noqa: ANN401 - a context manager of torch
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")


def _place(place: Places) -> Place:
    if isinstance(place, Grid):
        return place.rows, place.cols, place.frames, place.prefix
    return 0, 0, 0, place.num
