"""The parts of a model by name, as the command line and recipes say them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Literal

from opticnerve.connectors import METHODS, method
from opticnerve.encoders import EncoderInfo, Layers
from opticnerve.errors import OpticNerveError
from opticnerve.planner.encoder import EncoderCosts
from opticnerve.planner.llm import LLM
from opticnerve.planner.lookup import find_encoder, find_llm
from opticnerve.planner.model import VisionLanguageModel
from opticnerve.views import Sight
from opticnerve.views.fit import fitting_layers, fitting_method, fitting_tiling


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Encoder, tiling, scales, connector and LLM by name; what is left out fits, or has the paper's default."""

    encoder: str = "bundled"
    """"bundled", a name of the catalogue or the hub, or a folder with a config.json."""
    llm: str = "Qwen/Qwen3-4B"
    """A name of the catalogue or the hub, or a folder with a config.json."""
    method: str = "pixel_shuffle"
    method_options: Mapping[str, object] = field(default_factory=dict[str, object])
    tiling: str = "internvl"
    tiling_options: Mapping[str, object] = field(default_factory=dict[str, object])
    scales: tuple[float, ...] = (1,)
    """S2: multiples of the encoder's size at which each tile is seen."""
    layers: Layers | Literal["fitting"] = "fitting"
    """Layers of the encoder; "fitting" is the finished output, or the last layers where the connector reads several."""

    @property
    def name(self) -> str:
        """What tables call it."""
        parts = [self.encoder.rpartition("/")[2], self.tiling, self.method, self.llm.rpartition("/")[2]]
        return ", ".join(parts)

    def build(self) -> VisionLanguageModel:
        """Look everything up, and fit the parts to each other.

        Raises:
            PlanError: there is no such encoder or LLM, or its settings lack something.
            UnknownNameError: there is no such method or tiling, or it has no such option.
            SpecError: an option cannot be.
        """
        return self.fit(self.find_encoder(), find_llm(self.llm))

    def find_encoder(self) -> EncoderCosts:
        """Look the encoder up, cut to the layers that the connector reads.

        Raises:
            PlanError: there is no such encoder, or its settings lack something.
        """
        num_levels = method(self.method, **self.method_options).num_levels
        return find_encoder(
            self.encoder, layers=fitting_layers(num_levels) if self.layers == "fitting" else self.layers
        )

    def fit(self, encoder: EncoderCosts, llm: LLM) -> VisionLanguageModel:
        """Fit the parts to each other.

        Args:
            encoder: the one that is named.
            llm: the one that is named.

        Raises:
            UnknownNameError: there is no such method or tiling, or it has no such option.
            SpecError: an option cannot be.
        """
        sight = self._sight(encoder.info)
        options, note = self._padded(sight)
        return VisionLanguageModel(
            name=self.name,
            encoder=encoder,
            sight=sight,
            spec=fitting_method(self.method, sight, options),
            llm=llm,
            notes=(note,) if note else (),
        )

    def explicit(self, info: EncoderInfo) -> "Choice":
        """Return the same with the padding in its options that the method needs behind this encoder.

        Args:
            info: of the encoder.

        Raises:
            UnknownNameError: there is no such method or tiling, or it has no such option.
            SpecError: an option cannot be.
        """
        options, _ = self._padded(self._sight(info))
        return replace(self, method_options=options)

    def _sight(self, info: EncoderInfo) -> Sight:
        tiling = fitting_tiling(self.tiling, info, self.tiling_options, scales=self.scales)
        return Sight(info=info, tiling=tiling, scales=self.scales)

    def _padded(self, sight: Sight) -> tuple[Mapping[str, object], str]:
        """Let a method pad where it cannot divide the grid of the encoder's own size, and say so."""
        options = self.method_options
        if "odd" not in signature(METHODS[self.method]).parameters or "odd" in options:
            return options, ""
        spec = fitting_method(self.method, sight, options)
        grid = sight.grids(sight.plan(*sight.info.native_px))[0]
        for odd in ("error", "pad", "drop"):
            try:
                padded = {**options, "odd": odd}
                fitting_method(self.method, sight, padded).out_grid(grid)
            except OpticNerveError:
                continue
            if odd == "error":
                return options, ""
            return padded, f"{spec.name} does not divide {grid} features: planned with --method.odd {odd}"
        return options, ""
