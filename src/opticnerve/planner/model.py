"""A vision-language model before it is built: encoder, tiling, connector and LLM, and what they make of an image."""

from dataclasses import dataclass
from functools import lru_cache

from opticnerve.connectors import ConnectorSpec
from opticnerve.grid import Grid
from opticnerve.planner.encoder import EncoderCosts
from opticnerve.planner.llm import LLM
from opticnerve.tiling import TilePlan
from opticnerve.views import Sight


@dataclass(frozen=True, kw_only=True, slots=True)
class Separators:
    """Tokens of text that a model's prompt puts around the visual tokens of an image, besides the user's own text."""

    per_image: int = 0
    per_tile: int = 0
    per_tile_row: int = 0
    """For each row of tiles."""
    per_token_row: int = 0
    """For each row of visual tokens (Pixtral)."""
    if_tiled: int = 0
    """Once more where an image has more than one tile."""

    def count(self, plan: TilePlan, *, token_rows: int) -> int:
        """Count them for one image.

        Args:
            plan: what becomes of it.
            token_rows: rows of visual tokens over all tiles.
        """
        rows = sum(canvas.rows for canvas in plan.token_canvases)
        tiles = sum(canvas.num_tiles for canvas in plan.token_canvases)
        tiled = self.if_tiled if tiles > 1 else 0
        wrapped = self.per_image + self.per_tile * tiles + self.per_tile_row * rows + self.per_token_row * token_rows
        return wrapped + tiled


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What an image becomes on its way to the LLM."""

    height_px: int
    width_px: int
    num_tiles: int
    """Tiles that the encoder sees, overview and scales included."""
    num_features: int
    """Features that reach the connector."""
    num_tokens: int
    """Visual tokens, learned separators included."""
    num_separators: int
    """Tokens of text around them."""
    encoder_flops: int
    connector_flops: int
    encoder_values: int
    """Numbers alive while the widest tile is encoded."""
    connector_bytes: int
    """Bytes alive while one tile is connected, in bfloat16."""
    tile_pixels: int
    """Pixels of all tiles, which have to be made of the image."""
    zoom: float
    """Pixels of the finest tiles for each pixel of the image, along the side that is shrunk more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionLanguageModel:
    """Everything that a plan needs to know of a model."""

    name: str
    encoder: EncoderCosts
    sight: Sight
    """Tiling and scales."""
    spec: ConnectorSpec
    llm: LLM
    separators: Separators = Separators()
    notes: tuple[str, ...] = ()
    """What was chosen where nobody had said, in sentences."""

    @property
    def vision_dim(self) -> int:
        """Channels of the features, all levels and scales together."""
        return self.sight.dim

    @property
    def connector_params(self) -> int:
        """Learned numbers of the connector."""
        return _num_params(self.spec, self.vision_dim, self.llm.dim)

    def look(self, height_px: int, width_px: int) -> Look:
        """Say what becomes of an image.

        Args:
            height_px: height of the image.
            width_px: width of the image.

        Raises:
            ImageError: the tiling refuses the size.
            GridError: the connector cannot take the tiles' grids.
        """
        plan = self.sight.plan(height_px, width_px)
        grids = self.sight.grids(plan)
        widths = {"vision_dim": self.vision_dim, "llm_dim": self.llm.dim}
        flops = {grid: self.spec.flops(grid, **widths) for grid in dict.fromkeys(grids)}
        places = [self.spec.out_grid(grid) for grid in grids]
        rows = sum(place.rows for place in places if isinstance(place, Grid))
        tiles = [canvas.tile_px for canvas in plan.canvases for _ in range(canvas.num_tiles)]
        return Look(
            height_px=height_px,
            width_px=width_px,
            num_tiles=sum(self._views(*tile) for tile in tiles),
            num_features=sum(grid.size for grid in grids),
            num_tokens=plan.num_tokens(places),
            num_separators=self.separators.count(plan, token_rows=rows),
            encoder_flops=sum(self._encoder_flops(*tile) for tile in tiles),
            connector_flops=sum(flops[grid] for grid in grids),
            encoder_values=max(self.encoder.activation_values(*self._view_px(*tile)) for tile in dict.fromkeys(tiles)),
            connector_bytes=max(self.spec.activation_bytes(grid, **widths) for grid in dict.fromkeys(grids)),
            tile_pixels=sum(height * width for height, width in tiles),
            zoom=max(
                min(canvas.content.height / height_px, canvas.content.width / width_px)
                for canvas in plan.token_canvases
            ),
        )

    def _encoder_flops(self, height_px: int, width_px: int) -> int:
        if self.sight.scales == (1,):
            return self.encoder.flops(height_px, width_px)
        return self.sight.s2(views_per_call=1).flops(height_px, width_px, flops=self.encoder.flops)

    def _views(self, height_px: int, width_px: int) -> int:
        if self.sight.scales == (1,):
            return 1
        return self.sight.s2(views_per_call=1).num_views(height_px, width_px)

    def _view_px(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Return the size that the encoder sees at once."""
        if self.sight.scales == (1,):
            return height_px, width_px
        views = self.sight.s2(views_per_call=1).views(height_px, width_px)
        return max((view.tile_px for view in views), key=lambda tile: tile[0] * tile[1])


@lru_cache(maxsize=256)
def _num_params(spec: ConnectorSpec, vision_dim: int, llm_dim: int) -> int:
    """Count the learned numbers of a connector, which builds each block on the meta device, once."""
    return spec.num_params(vision_dim=vision_dim, llm_dim=llm_dim)
