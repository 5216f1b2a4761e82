"""From an image to its visual tokens, with every count known before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from opticnerve.connectors import Connector, ConnectorSpec
from opticnerve.encoders import weights_sha256
from opticnerve.family import open_model
from opticnerve.grid import Grid, Places
from opticnerve.tiling import TilePlan
from opticnerve.views import Features, TiledEncoder, join

_SHOWN_DIGITS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What an image costs and gives."""

    height_px: int
    """Height of the image."""
    width_px: int
    """Width of the image."""
    num_tiles: int
    """Tiles that the encoder sees, overview included."""
    num_features: int
    """Features that reach the connector, over all tiles that become tokens."""
    num_tokens: int
    """Visual tokens of the image."""
    encoder_flops: int
    """Operations of the encoder, 2 for each multiply-add."""
    connector_flops: int
    """Operations of the connector, 2 for each multiply-add."""

    @property
    def ratio(self) -> float:
        """Features for each visual token."""
        return self.num_features / self.num_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Compressed:
    """One image as visual tokens."""

    tokens: Float[Tensor, "tokens llm_dim"]
    """Visual tokens of all tiles in encoder order, joined as the tiling's packing says."""
    plan: TilePlan
    """What became of the image."""
    grids: tuple[Grid, ...]
    """Where the features of each tile lie."""
    places: tuple[Places, ...]
    """Where the visual tokens of each tile lie, before they are joined."""
    tile_boxes: Float[Tensor, "tiles 4"]
    """What each tile shows: top, left, bottom, right in pixels of the image."""
    counts: Counts
    """What it cost."""
    stage_ms: Mapping[str, float]
    """Milliseconds of "tile", "encode" and "connect"."""


class Compressor:
    """Tiling, encoder and connector in a row.

    Args:
        tiled: tiling and encoder.
        connector: built for `tiled.dim` channels.
        newline: the learned vector that ends a row of tokens, for tilings that have one.
        weights: where the connector's weights are from, in words, as a record for the files.
        is_trained: the tokens mean something.
    """

    def __init__(
        self,
        tiled: TiledEncoder,
        connector: Connector,
        *,
        newline: Float[Tensor, " llm_dim"],
        weights: str,
        is_trained: bool = True,
    ) -> None:
        self.tiled = tiled
        self.connector = connector
        self.newline = newline
        self.weights = weights
        self.is_trained = is_trained

    @staticmethod
    def from_model(name_or_path: str) -> "Compressor":
        """Take tiling, encoder and connector of a trained model; its language model is read, and left.

        Args:
            name_or_path: what `open_model` takes: a bundled model, a folder, or a hub name.

        Raises:
            CheckpointError: there is no such model, or it is of another kind.
        """
        model, processor = open_model(name_or_path)
        encoder, projector = model.model.vision_tower, model.model.multi_modal_projector
        sight = processor.image_processor.sight
        layers = tuple(getattr(encoder, "levels", ())) or "last"
        tiled = TiledEncoder(encoder, sight.tiling, scales=sight.scales, layers=layers)
        connector = projector.connector
        dim = connector.spec.out_dim(vision_dim=connector.vision_dim, llm_dim=connector.llm_dim)
        return Compressor(
            tiled,
            connector,
            newline=getattr(projector, "newline", torch.zeros(dim)),
            weights=f"{name_or_path}, sha256 {weights_sha256(projector)[:_SHOWN_DIGITS]}",
        )

    @staticmethod
    def with_random_weights(
        tiled: TiledEncoder, spec: ConnectorSpec, *, llm_dim: int = 2048, seed: int = 0
    ) -> "Compressor":
        """Build the connector of a spec with random weights, the same for the same seed.

        Args:
            tiled: tiling and encoder.
            spec: the connector.
            llm_dim: width of the LLM's embeddings.
            seed: of the weights. The state of torch's own generator is left as it was.

        Raises:
            SpecError: a width does not fit a block.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            connector = spec.build(vision_dim=tiled.dim, llm_dim=llm_dim).eval()
            # As LLaVA-NeXT begins: of the length of a token's embedding.
            newline = torch.randn(spec.out_dim(vision_dim=tiled.dim, llm_dim=llm_dim)) * llm_dim**-0.5
        return Compressor(tiled, connector, newline=newline, weights=f"random, seed {seed}", is_trained=False)

    @property
    def spec(self) -> ConnectorSpec:
        """The connector as plain data."""
        return self.connector.spec

    @property
    def num_params(self) -> int:
        """Learned numbers of the connector."""
        return self.spec.num_params(vision_dim=self.connector.vision_dim, llm_dim=self.connector.llm_dim)

    def count(self, height_px: int, width_px: int) -> Counts:
        """Say what an image of some size will cost and give, without running anything.

        Args:
            height_px: height of the image.
            width_px: width of the image.

        Raises:
            ImageError: the tiling refuses the size.
            EncoderError: the encoder cannot take the tiles.
            GridError: the connector cannot take the tiles' grids.
        """
        return self._count(self.tiled.tiling.plan(height_px, width_px))

    def compress(self, image: UInt8[Tensor, "3 height width"]) -> Compressed:
        """Turn an image into visual tokens.

        Args:
            image: pixels, 0 to 255.

        Raises:
            ImageError: the tiling refuses the image.
            EncoderError: the encoder cannot take the tiles.
            GridError: the connector cannot take the tiles' grids.
        """
        self.count(image.shape[1], image.shape[2])
        return self.connect(self.tiled.encode(image))

    @torch.inference_mode()
    def connect(self, features: Features) -> Compressed:
        """Turn features that were made before into visual tokens.

        Args:
            features: what `tiled.encode` gave, or the same tiling and encoder elsewhere.

        Raises:
            GridError: the connector cannot take the tiles' grids.
        """
        plan, start = features.plan, perf_counter()
        counts = self._count(plan)
        places = self._places(plan)
        tokens: list[Tensor] = []
        for batch, grid in zip(features.batches, features.grids, strict=True):
            for some in torch.split(batch, self.tiled.batch_size):
                tokens += self.connector(some, grid)
        joined = join(plan, tokens, places, newline=self.newline)
        connect_ms = 1000 * (perf_counter() - start)
        return Compressed(
            tokens=joined,
            plan=plan,
            grids=self.tiled.grids(plan),
            places=places,
            tile_boxes=torch.tensor(self.tiled.boxes(plan), dtype=torch.float32),
            counts=counts,
            stage_ms={"tile": features.tile_ms, "encode": features.encode_ms, "connect": connect_ms},
        )

    def _places(self, plan: TilePlan) -> tuple[Places, ...]:
        return tuple(self.spec.out_grid(grid) for grid in self.tiled.grids(plan))

    def _count(self, plan: TilePlan) -> Counts:
        grids = self.tiled.grids(plan)
        widths = {"vision_dim": self.connector.vision_dim, "llm_dim": self.connector.llm_dim}
        flops = {grid: self.spec.flops(grid, **widths) for grid in dict.fromkeys(grids)}
        return Counts(
            height_px=plan.image_height_px,
            width_px=plan.image_width_px,
            num_tiles=plan.num_tiles,
            num_features=sum(grid.size for grid in grids),
            num_tokens=plan.num_tokens(self._places(plan)),
            encoder_flops=self.tiled.flops(plan),
            connector_flops=sum(flops[grid] for grid in grids),
        )
