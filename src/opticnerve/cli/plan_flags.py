"""The flags of `opticnerve plan`, as plain data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from opticnerve.planner import Choice, Demand, VisionLanguageModel

Pairs = Annotated[tuple[str, ...], Parameter(show=False)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFlags:
    """Which model."""

    model: str = ""
    """Whole published model instead of the parts below: a name of the catalogue or the hub, or a folder."""
    encoder: str = "bundled"
    """Encoder: bundled, a name of the catalogue or the hub, or a folder with a config.json."""
    llm: str = "Qwen/Qwen3-4B"
    """LLM: a name of the catalogue or the hub, or a folder with a config.json."""
    method: str = "pixel_shuffle"
    """Method; `opticnerve methods` lists them. Its options: --method.KEY VALUE; `opticnerve show METHOD` lists them."""
    method_option: Pairs = ()
    """As --method.KEY VALUE."""
    tiling: str = "internvl"
    """Tiling: anyres, dynamic_s2, idefics3, internvl, minicpm, pixtral, plain, qwen, tokenpacker_hd. Its options:
    --tiling.KEY VALUE."""
    tiling_option: Pairs = ()
    """As --tiling.KEY VALUE."""
    scales: str = "1"
    """S2: sizes at which each tile is seen, such as 1,2."""
    layers: str = "fitting"
    """Layers of the encoder: last, or numbers such as -2; as many as the method reads, if it reads several."""

    def choice(self) -> "Choice":
        """Read the flags that name parts.

        Raises:
            SpecError: a flag cannot be read.
        """
        from opticnerve.cli.options import read_layers, read_numbers, read_options
        from opticnerve.planner import Choice

        return Choice(
            encoder=self.encoder,
            llm=self.llm,
            method=self.method,
            method_options=read_options(self.method_option),
            tiling=self.tiling,
            tiling_options=read_options(self.tiling_option),
            scales=read_numbers(self.scales, flag="--scales"),
            layers=read_layers(self.layers),
        )

    def build(self) -> "VisionLanguageModel":
        """Look the model up.

        Raises:
            OpticNerveError: a name is nowhere, parts do not fit, or a whole model is given and parts as well.
        """
        from dataclasses import fields

        from opticnerve.errors import PlanError
        from opticnerve.planner import find_model

        if not self.model:
            return self.choice().build()
        others = [one.name for one in fields(self) if one.name != "model" and getattr(self, one.name) != one.default]
        if others:
            flags = ", ".join(f"--{name.replace('_', '-').removesuffix('-option')}" for name in others)
            raise PlanError(f"--model names a whole model: leave out {flags}, or leave out --model")
        return find_model(self.model)


@dataclass(frozen=True, kw_only=True, slots=True)
class DemandFlags:
    """What is asked of it, and where it runs."""

    device: str = "h100"
    """Device: a name of the table in the documentation, a file of `opticnerve calibrate`, or here: its last one."""
    batch: int = 1
    """Prompts at once."""
    images_per_prompt: int = 1
    """Images in each prompt."""
    text_tokens: int = 100
    """Tokens of text in a prompt."""
    new_tokens: int = 200
    """Tokens of an answer."""
    dtype: Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4"] = "bf16"
    """Numbers of the weights; the cache and activations have 16 bits, or 32 with fp32."""

    def demand(self) -> "Demand":
        """Read the flags.

        Raises:
            PlanError: a number is too small.
        """
        from opticnerve.planner import Demand

        return Demand(
            images_per_prompt=self.images_per_prompt,
            text_tokens=self.text_tokens,
            new_tokens=self.new_tokens,
            batch=self.batch,
            dtype=self.dtype,
        )
