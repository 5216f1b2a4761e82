"""The flags of `opticnerve compress`, as plain data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from opticnerve.views import ViewSettings

Pairs = Annotated[tuple[str, ...], Parameter(show=False)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectorFlags:
    """Which connector."""

    model: str = ""
    """A trained model, by folder or name: encoder, tiling, scales and connector are its own. Otherwise they are given
    below, and the connector's weights are random."""
    method: str = "pixel_shuffle"
    """Method; `opticnerve methods` lists them. Its options: --method.KEY VALUE; `opticnerve show METHOD` lists them."""
    method_option: Pairs = ()
    """As --method.KEY VALUE."""
    spec: str = ""
    """YAML or JSON file with a connector, instead of --method."""
    all_methods: bool = False
    """Compare all methods on the images instead; writes no files."""
    llm_dim: int = 2048
    """Width of the LLM's embeddings."""
    seed: int = 0
    """Of the connector's random weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewFlags:
    """How images are seen."""

    tiling: str = "internvl"
    """Tiling: anyres, dynamic_s2, idefics3, internvl, minicpm, pixtral, plain, qwen, tokenpacker_hd. Its options:
    --tiling.KEY VALUE."""
    tiling_option: Pairs = ()
    """As --tiling.KEY VALUE."""
    encoder: str = "bundled"
    """Encoder: bundled, a folder, or a name on the Hugging Face hub."""
    layers: str = "fitting"
    """Layers of the encoder: last, or numbers such as 12,16,22,23; as many as the method reads, if it reads several."""
    prefix: Literal["drop", "keep"] = "drop"
    """Drop or keep the encoder's CLS and register tokens."""
    scales: str = "1"
    """S2: sizes at which each tile is seen, such as 1,2."""

    def settings(self) -> "ViewSettings":
        """Read the flags.

        Raises:
            SpecError: a flag cannot be read.
        """
        from opticnerve.cli.options import read_layers, read_numbers, read_options
        from opticnerve.views import ViewSettings

        return ViewSettings(
            encoder=self.encoder,
            layers=read_layers(self.layers),
            prefix=self.prefix,
            tiling=self.tiling,
            tiling_options=read_options(self.tiling_option),
            scales=read_numbers(self.scales, flag="--scales"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFlags:
    """What comes out."""

    out: str = "tokens"
    """Folder for one token file an image; images that are there already are not done again."""
    picture: bool = False
    """Draw the tiles and what becomes one token, as a PNG beside each token file."""
    overwrite: bool = False
    """Do again what is there already."""
    max_pixels: int = 89_478_485
    """Larger images are passed over: they may be decompression bombs."""
    json: bool = False
    """Print JSON instead of a table."""
