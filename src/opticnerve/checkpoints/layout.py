"""What a published layout is: how to know it, which connector it holds, and what its tensors are called."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry
from opticnerve.connectors import ConnectorSpec
from opticnerve.tiling import Tiling, tiling

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of published tensors by name, the layout's prefix taken off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """How a published model looks at an image; what is not known stays at its default."""

    policy: str = ""
    """In words: "tiles of 448 px and a thumbnail", "native size"."""
    patch_px: int = 0
    """Pixels a side of one feature of the encoder; 0 where it is not known."""
    tile_px: int = 0
    """Pixels a side of what the encoder sees at once; 0 where it takes any size."""
    is_one_view: bool = False
    """Whether every image is one view of `tile_px`, stretched, padded or cropped to it."""
    num_prefix: int = 0
    """Tokens without a place (CLS, registers) that the connector gets before the patches."""
    tiling: str = ""
    """Name of the tiling of this library that cuts images the same way; "" where there is none."""
    tiling_options: Mapping[str, object] = field(default_factory=dict[str, object])
    """Its options."""
    scales: tuple[float, ...] = (1,)
    """Scales of S2."""

    def build_tiling(self) -> Tiling | None:
        """Build the tiling that makes as many tiles of as many pixels; None where none of this library does.

        One view of a fixed size is a plain tiling however the image is brought to that size: padded, cropped and
        stretched images come to the same count.

        Raises:
            SpecError: an option cannot be.
        """
        if self.tiling:
            return tiling(self.tiling, **self.tiling_options)
        if self.is_one_view and self.tile_px:
            return tiling("plain", height_px=self.tile_px, width_px=self.tile_px)
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The connector of one checkpoint, as its settings and shapes say."""

    spec: ConnectorSpec
    vision_dim: int
    """Width of the encoder's features; all levels together where the connector reads several."""
    llm_dim: int
    """Width of the LLM's embeddings."""
    views: Views = Views()


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One published way to store a connector.

    Names of tensors are those of the release without the prefix that a whole model puts before them, which is found in
    the file: it differs between a file of the connector alone, a model, and a model inside another one.
    """

    name: str
    """transformers' own name of the family; or that of the original repository's release."""
    title: str
    """The models that have it, as people call them."""
    home: Literal["transformers", "original", "opticnerve"]
    """Whose files."""
    method: str
    """What kind of connector it is, in a few words."""
    read: Callable[[Config, Shapes], Reading]
    """From settings and shapes to the connector."""
    entries: Callable[[ConnectorSpec], tuple[Entry, ...]] | None
    """From a connector whose widths are all resolved to its published tensors; None where their names are ours."""
    marks: tuple[str, ...] = ()
    """Tensors that are there in every file of this layout. One without marks is known by its model type alone."""
    lacks: tuple[str, ...] = ()
    """Tensors that would make it another layout."""
    at: tuple[str, ...] = ()
    """Names of the module whose tensors these are, with a dot at the end: the prefix ends with one of them, or is
    empty. The first is where the tensors are written. With none, any prefix will do."""
    owns: tuple[str, ...] = ("",)
    """Beginnings of names, after the prefix: what begins so is the connector's and nothing else."""
    model_types: tuple[str, ...] = ()
    """model_type of the config.json files that have this layout."""
    settings: tuple[str, ...] = ()
    """Settings by which it is known among layouts of the same model type: one that has them all is taken before others,
    and one that lacks some is not tried."""
    is_part: bool = False
    """Whether the model has another connector that is meant unless this one is named."""
    example: Callable[[], Reading] | None = None
    """A connector of a published model, for the table; None takes transformers' default config of the first model
    type."""
    tested: str = "transformers"
    """How it is tested: against the model of that name ("transformers"), recorded outputs of the original code
    ("golden"), or another way, in words."""

    @property
    def prefix(self) -> str:
        """Where the tensors are written, if nobody says otherwise."""
        return self.at[0] if self.at else ""

    def list_entries(self, spec: ConnectorSpec, ours: Iterable[str]) -> tuple[Entry, ...]:
        """List the published tensors of a connector.

        Args:
            spec: the connector, its widths resolved.
            ours: names of its own tensors.

        Raises:
            CheckpointError: the layout is not that of a connector of these blocks.
        """
        if self.entries is None:
            return tuple(Entry(theirs=name, ours=(name,)) for name in ours)
        return self.entries(spec)

    def published(self) -> Reading:
        """Return the connector of a published model."""
        if self.example is not None:
            return self.example()
        return self.read(Config.default(self.model_types[0]), {})
