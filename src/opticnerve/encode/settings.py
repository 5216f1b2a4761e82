"""What images become, as plain data, and the same with its weights loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from opticnerve.connectors import method
from opticnerve.data import MAX_PIXELS
from opticnerve.encode.encoding import Encoding
from opticnerve.encode.errors import EncodeError
from opticnerve.family import open_model
from opticnerve.views import Sight, ViewSettings, fitting_method
from opticnerve.vlm import Projector

Kept = Literal["tokens", "features"]
DType = Literal["bf16", "fp16", "fp32", "int8"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeSettings:
    """Everything that a stored image depends on besides its pixels, and how it is computed. Pickles."""

    model: str = ""
    """A trained model, by folder or name: encoder, tiling, scales and connector are its own; "" is none."""
    views: ViewSettings = field(default_factory=ViewSettings)
    """How images are seen, where there is no model."""
    method: str = "pixel_shuffle"
    """The connector's method, where there is no model."""
    method_options: Mapping[str, object] = field(default_factory=dict[str, object])
    """Options of the method."""
    llm_dim: int = 2048
    """Width of the visual tokens, where there is no model."""
    seed: int = 0
    """Of the connector's random weights, where there is no model."""
    keep: Kept = "tokens"
    """The visual tokens, or the features that a connector is to be trained on."""
    dtype: DType = "bf16"
    """Numbers on disk; int8 has a scale for each row."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """That encoder and connector compute in."""
    device: str = "auto"
    """Of torch; "auto" is a GPU where there is one."""
    tiles_per_call: int | None = None
    """Tiles that go through the encoder at once; None is 4 on a CPU, for each core that encodes, and 32 on a GPU."""
    max_pixels: int = MAX_PIXELS
    """Larger images are skipped."""

    def load(self) -> Encoding:
        """Load encoder and connector.

        Raises:
            EncodeError: a number cannot be, or there is no such device.
            EncoderError: there is no such encoder.
            CheckpointError: there is no such model.
            UnknownNameError: there is no such method, tiling or option.
            SpecError: an option cannot be.
        """
        device = self._device()
        if self.tiles_per_call is not None and self.tiles_per_call < 1:
            raise EncodeError(f"tiles_per_call must be at least 1, got {self.tiles_per_call}")
        encoder, sight, projector, weights = self._opened_model() if self.model else self._built()
        return Encoding(
            encoder=encoder.to(device),
            sight=sight,
            projector=projector.to(device) if projector is not None and self.keep == "tokens" else None,
            weights=weights,
            settings=self,
            device=device,
        )

    def _device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0]
            raise EncodeError(f'device "{self.device}" cannot be used: {reason}. Give auto, cpu or cuda') from error
        return device

    def _opened_model(self) -> Any:  # noqa: ANN401 - a tuple of what `Encoding` takes
        model, processor = open_model(self.model)
        parts = model.model
        return parts.vision_tower, processor.image_processor.sight, parts.multi_modal_projector, self.model

    def _built(self) -> Any:  # noqa: ANN401 - as above
        spec = method(self.method, **self.method_options)
        tiled = self.views.load(num_levels=spec.num_levels if self.keep == "tokens" else 1)
        sight: Sight = tiled.sight
        if self.keep == "features":
            return tiled.encoder, sight, None, ""
        spec = fitting_method(self.method, sight, self.method_options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            projector = Projector(sight, spec, llm_dim=self.llm_dim)
        return tiled.encoder, sight, projector.eval(), f"random, seed {self.seed}"
