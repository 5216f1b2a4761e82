"""What every block is: a spec that counts, costs and builds, and a module that does the work."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import torch
from jaxtyping import Bool, Float, Int
from pydantic import ConfigDict
from torch import Tensor, nn

from opticnerve.errors import SpecError
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class Width:
    """A number of channels that is known only when the connector is built."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    of: Literal["in", "vision", "llm"]
    """Relative to what enters this block, to the features of the encoder, or to the embeddings of the LLM."""
    times: int = 1
    """Multiplied by this."""
    over: int = 1
    """Divided by this, rounded down."""

    def __post_init__(self) -> None:
        if self.times < 1 or self.over < 1:
            raise SpecError(f"a width needs whole numbers of at least 1, got times={self.times} and over={self.over}")

    def __mul__(self, times: int) -> "Width":
        """Return the width times a whole number."""
        return replace(self, times=self.times * times)

    def __floordiv__(self, over: int) -> "Width":
        """Return the width over a whole number, rounded down."""
        return replace(self, over=self.over * over)

    def resolve(self, *, in_dim: int, vision_dim: int, llm_dim: int) -> int:
        """Return the number of channels.

        Raises:
            SpecError: nothing is left after the division.
        """
        base = {"in": in_dim, "vision": vision_dim, "llm": llm_dim}[self.of]
        dim = base * self.times // self.over
        if dim < 1:
            raise SpecError(f"a width of {base} * {self.times} // {self.over} channels is empty: it must be at least 1")
        return dim


IN = Width(of="in")
VISION = Width(of="vision")
LLM = Width(of="llm")

Dim = int | Width
"""A number of channels, fixed or relative."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTokens:
    """An instruction that conditions the queries (InstructBLIP), one row an image."""

    ids: Int[Tensor, "batch length"]
    """Token ids of the block's own vocabulary."""
    mask: Bool[Tensor, "batch length"]
    """True for tokens, False for padding."""

    def rows(self, indices: list[int]) -> "TextTokens":
        """Take the rows of some images."""
        return TextTokens(ids=self.ids[indices], mask=self.mask[indices])


class Block(nn.Module, ABC):
    """A step of a connector: dense features of one grid in, features out, as many as the spec says."""

    @abstractmethod
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch out_positions out_dim"]:
        """Apply the block to features that lie on `grid`, in raster order."""


class TextBlock(Block):
    """A block that also reads an instruction."""

    @abstractmethod
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places, text: TextTokens | None = None
    ) -> Float[Tensor, "batch out_positions out_dim"]:
        """Apply the block, its queries conditioned on `text`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSpec(ABC):
    """Plain data from which a block is counted, costed and built.

    Fields that hold a `Width` must be resolved (`resolve`) before the methods that take `dim` are asked.
    """

    kind: ClassVar[str]
    """The name in JSON."""

    def __post_init__(self) -> None:
        for field, choices in _choices(type(self)).items():
            if (value := getattr(self, field)) not in choices:
                known = ", ".join(map(repr, choices))
                raise SpecError(f"{self.kind} needs {field} to be one of {known}, got {value!r}")
        for field in _widths(type(self)):
            if isinstance(value := getattr(self, field), int) and value < 1:
                raise SpecError(f"{self.kind} needs {field} of at least 1 channel, got {value}")

    def resolve(self, *, in_dim: int, vision_dim: int, llm_dim: int) -> "BlockSpec":
        """Return the same block with every relative width replaced by a number of channels."""
        changes: dict[str, Any] = {
            field.name: value.resolve(in_dim=in_dim, vision_dim=vision_dim, llm_dim=llm_dim)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Width)
        }
        return replace(self, **changes)

    def out_grid(self, grid: Places) -> Places:
        """Say where the output lies, without weights.

        Raises:
            GridError: the block cannot take this grid.
        """
        return grid

    def out_dim(self, dim: int) -> int:
        """Say how wide the output is, for an input of `dim` channels."""
        return dim

    def num_params(self, dim: int) -> int:
        """Count the learned numbers, for an input of `dim` channels."""
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in self.build(dim).parameters())

    def flops(self, grid: Places, dim: int) -> int:
        """Count the floating-point operations of one image: 2 for each multiply-add of a matrix product,
        convolution or attention. Norms, activations, pooling and copies are not counted.
        """  # noqa: D205
        del grid, dim
        return 0

    def activation_values(self, grid: Places, dim: int) -> int:
        """Count the numbers that are alive at the widest point of the block for one image, input and output included.

        Times the bytes of the data type this estimates the memory of a forward pass without gradients.
        """
        return grid.size * dim + self.out_grid(grid).size * self.out_dim(dim)

    @abstractmethod
    def build(self, dim: int) -> Block:
        """Make the module, with fresh random weights, for an input of `dim` channels."""


@cache
def _choices(kind: type[BlockSpec]) -> dict[str, tuple[object, ...]]:
    """List the fields that take one of a few values."""
    hints = get_type_hints(kind)
    named = {field.name: hints[field.name] for field in fields(kind)}
    return {name: get_args(hint) for name, hint in named.items() if get_origin(hint) is Literal}


@cache
def _widths(kind: type[BlockSpec]) -> tuple[str, ...]:
    """List the fields that take a width."""
    hints = get_type_hints(kind)
    return tuple(field.name for field in fields(kind) if hints[field.name] == Dim)


def fixed(width: Dim) -> int:
    """Return a width that must be a number by now; a relative one is our own bug."""
    assert isinstance(width, int), f"{width} was not resolved before it was used"
    return width
