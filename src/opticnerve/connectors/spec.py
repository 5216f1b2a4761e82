"""A connector as plain data: count its tokens, cost it, build it, write it as JSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

from opticnerve.connectors.blocks import BlockSpec
from opticnerve.connectors.blocks.nested import block_from_dict, block_to_dict
from opticnerve.connectors.connector import Connector
from opticnerve.errors import SpecError
from opticnerve.grid import Grid, Places

FORMAT = 1
"""Version of the JSON form."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectorSpec:
    """A connector: blocks that are applied one after another.

    Every answer that needs no channels (`out_grid`, `num_tokens`) needs no widths; the others take the width of the
    encoder's features and of the LLM's embeddings.
    """

    name: str
    """The method that made it, or any name of yours."""
    blocks: tuple[BlockSpec, ...]
    """Applied first to last."""
    num_levels: int = 1
    """Encoder layers that the features must hold, side by side on the channels."""

    def __post_init__(self) -> None:
        if self.num_levels < 1:
            raise SpecError(f"a connector needs num_levels of at least 1, got {self.num_levels}")

    def out_grid(self, grid: Grid) -> Places:
        """Say where the visual tokens of one image lie: on a grid, or nowhere (learned queries).

        Raises:
            GridError: a block cannot take the grid.
        """
        places: Places = grid
        for block in self.blocks:
            places = block.out_grid(places)
        return places

    def num_tokens(self, grid: Grid) -> int:
        """Count the visual tokens of one image (or tile) whose features lie on `grid`.

        Raises:
            GridError: a block cannot take the grid.
        """
        return self.out_grid(grid).size

    def resolve(self, *, vision_dim: int, llm_dim: int) -> "ConnectorSpec":
        """Return the same connector with every relative width replaced by a number of channels."""
        blocks = tuple(block for block, _ in self.walk(vision_dim=vision_dim, llm_dim=llm_dim))
        return replace(self, blocks=blocks)

    def walk(self, *, vision_dim: int, llm_dim: int) -> Iterator[tuple[BlockSpec, int]]:
        """Go through the resolved blocks, each with the width that enters it."""
        dim = vision_dim
        for block in self.blocks:
            resolved = block.resolve(in_dim=dim, vision_dim=vision_dim, llm_dim=llm_dim)
            yield resolved, dim
            dim = resolved.out_dim(dim)

    def out_dim(self, *, vision_dim: int, llm_dim: int) -> int:
        """Say how wide the visual tokens are: the LLM's width, unless the blocks say otherwise."""
        dim = vision_dim
        for block, in_dim in self.walk(vision_dim=vision_dim, llm_dim=llm_dim):
            dim = block.out_dim(in_dim)
        return dim

    def num_params(self, *, vision_dim: int, llm_dim: int) -> int:
        """Count the learned numbers."""
        return sum(block.num_params(dim) for block, dim in self.walk(vision_dim=vision_dim, llm_dim=llm_dim))

    def flops(self, grid: Grid, *, vision_dim: int, llm_dim: int) -> int:
        """Count the floating-point operations of one image: 2 for each multiply-add of matrix products,
        convolutions and attention.
        """  # noqa: D205
        total, places = 0, cast("Places", grid)
        for block, dim in self.walk(vision_dim=vision_dim, llm_dim=llm_dim):
            total += block.flops(places, dim)
            places = block.out_grid(places)
        return total

    def activation_bytes(self, grid: Grid, *, vision_dim: int, llm_dim: int, value_bytes: int = 2) -> int:
        """Estimate the peak memory of one image's forward pass without gradients, weights not counted.

        The features themselves are counted to the end, since the caller holds them.

        Args:
            grid: where the features lie.
            vision_dim: width of the features.
            llm_dim: width of the LLM's embeddings.
            value_bytes: bytes of one number; 2 for bfloat16.
        """
        peak, places = 0, cast("Places", grid)
        for index, (block, dim) in enumerate(self.walk(vision_dim=vision_dim, llm_dim=llm_dim)):
            held = grid.size * vision_dim if index else 0
            peak = max(peak, held + block.activation_values(places, dim))
            places = block.out_grid(places)
        return peak * value_bytes

    def build(self, *, vision_dim: int, llm_dim: int) -> Connector:
        """Make the module, with fresh random weights.

        Args:
            vision_dim: width of the features; all levels together where the connector reads several.
            llm_dim: width of the LLM's embeddings.

        Raises:
            SpecError: a width does not fit a block.
        """
        if vision_dim < 1 or llm_dim < 1:
            raise SpecError(f"widths must be at least 1, got vision_dim={vision_dim} and llm_dim={llm_dim}")
        modules = [block.build(dim) for block, dim in self.walk(vision_dim=vision_dim, llm_dim=llm_dim)]
        return Connector(self, modules, vision_dim=vision_dim, llm_dim=llm_dim)

    def to_dict(self) -> dict[str, Any]:
        """Return the connector as plain data: dicts, lists, strings and numbers."""
        blocks = [block_to_dict(block) for block in self.blocks]
        data = {"format": FORMAT, "name": self.name, "num_levels": self.num_levels, "blocks": blocks}
        return json.loads(json.dumps(data))

    def to_json(self) -> str:
        """Return the connector as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> "ConnectorSpec":
        """Read what `to_dict` gave.

        Raises:
            SpecError: something is missing, unknown or of the wrong type.
            UnknownNameError: there is no block of that kind.
        """
        unknown = sorted(set(data) - {"format", "name", "num_levels", "blocks"})
        if unknown or not isinstance(data.get("blocks"), list) or not isinstance(data.get("name"), str):
            extra = f"; it also has {', '.join(unknown)}" if unknown else ""
            raise SpecError(f'a connector needs a "name" and a list of "blocks", got the keys {sorted(data)}{extra}')
        if data.get("format", FORMAT) != FORMAT:
            raise SpecError(f"the connector is written in format {data['format']}; this version reads format {FORMAT}")
        levels = data.get("num_levels", 1)
        if isinstance(levels, bool) or not isinstance(levels, int):
            raise SpecError(f"a connector needs num_levels as a whole number, got {levels!r}")
        blocks = tuple(block_from_dict(entry) for entry in data["blocks"])
        return ConnectorSpec(name=data["name"], blocks=blocks, num_levels=levels)

    @staticmethod
    def from_json(text: str) -> "ConnectorSpec":
        """Read what `to_json` gave.

        Raises:
            SpecError: it is not JSON, or something is missing, unknown or of the wrong type.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise SpecError(f"the connector is not JSON: {error}") from error
        if not isinstance(data, dict):
            raise SpecError(f"a connector is a JSON object, got a {type(data).__name__}")
        return ConnectorSpec.from_dict(cast("dict[str, Any]", data))
