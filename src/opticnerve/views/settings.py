"""How images are seen, as plain data: encoder, layers, tiling and scales by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from opticnerve.encoders import Layers, Prefix, load_encoder
from opticnerve.errors import SpecError
from opticnerve.views.fit import fitting_layers, fitting_tiling
from opticnerve.views.tiled_encoder import TiledEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewSettings:
    """From these a `TiledEncoder` is loaded."""

    encoder: str = "bundled"
    """The encoder's name, folder or hub name: see `load_encoder`."""
    layers: Layers | Literal["fitting"] = "fitting"
    """Layers to read; "fitting" is the finished output, or the last layers where the connector reads several."""
    prefix: Prefix = "drop"
    """Whether CLS and register tokens are dropped or kept."""
    tiling: str = "internvl"
    """Name of the tiling."""
    tiling_options: Mapping[str, object] = field(default_factory=dict[str, object])
    """Options of the tiling; what is left out fits the encoder, or has the tiling's default."""
    scales: tuple[float, ...] = (1,)
    """S2: multiples of the encoder's size at which each tile is seen."""
    batch_size: int = 8
    """Most tiles that go through the encoder at once."""

    def load(self, *, num_levels: int = 1) -> TiledEncoder:
        """Load the encoder and fit the tiling to it.

        Args:
            num_levels: layers that the connector reads.

        Raises:
            EncoderError: there is no such encoder or layer.
            UnknownNameError: there is no such tiling, or it has no such option.
            SpecError: an option cannot be, or the layers are not as many as the connector reads.
        """
        layers = fitting_layers(num_levels) if self.layers == "fitting" else self.layers
        if num_levels > 1 and len(layers) != num_levels:
            raise SpecError(
                f"the connector reads {num_levels} layers of the encoder, got layers={layers}: name as many"
            )
        if num_levels > 1 and self.scales != (1,):
            raise SpecError(f"the connector reads {num_levels} layers at one scale, got scales={self.scales}: use 1")
        encoder = load_encoder(self.encoder, layers=layers, prefix=self.prefix)
        fitted = fitting_tiling(self.tiling, encoder.info, self.tiling_options, scales=self.scales)
        return TiledEncoder(encoder, fitted, scales=self.scales, layers=layers, batch_size=self.batch_size)
