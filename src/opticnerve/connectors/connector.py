"""The module between encoder and LLM: features on a grid in, visual tokens out, dense or packed."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks import Block, TextBlock, TextTokens
from opticnerve.errors import ShapeError
from opticnerve.grid import Grid, Places, total_size

if TYPE_CHECKING:
    from opticnerve.connectors.spec import ConnectorSpec


class Connector(nn.Module):
    """Applies the blocks of a spec in order.

    Attributes:
        spec: the plain data that it was built from.
        vision_dim: width of the features that it takes.
        llm_dim: width that it was built for.
    """

    def __init__(self, spec: "ConnectorSpec", blocks: Iterable[Block], *, vision_dim: int, llm_dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.vision_dim = vision_dim
        self.llm_dim = llm_dim
        self.blocks = nn.ModuleList(blocks)

    @override
    def forward(
        self, features: Float[Tensor, "batch positions vision_dim"], grid: Grid, *, text: TextTokens | None = None
    ) -> Float[Tensor, "batch tokens llm_dim"]:
        """Turn the features of images of one size into visual tokens.

        Args:
            features: in raster order, row by row; prefix tokens first where the grid has them.
            grid: where the features lie, the same for all images of the batch.
            text: an instruction for each image, for connectors that read one.

        Raises:
            ShapeError: the features are not on that grid, or not `vision_dim` wide.
            GridError: a block cannot take the grid.
        """
        self._check(features, positions=grid.size, where=f"the grid {grid}", axes="(batch, positions, vision_dim)")
        places: Places = grid
        reads_text = False
        for spec, module in zip(self.spec.blocks, self.blocks, strict=True):
            if isinstance(module, TextBlock):
                features, reads_text = module(features, places, text), True
            else:
                features = module(features, places)
            places = spec.out_grid(places)
        if text is not None and not reads_text:
            raise ShapeError(f'"{self.spec.name}" reads no text: leave text out, or build a Q-Former with text')
        return features

    def packed(
        self,
        features: Float[Tensor, "total_positions vision_dim"],
        grids: Sequence[Grid],
        *,
        text: TextTokens | None = None,
    ) -> tuple[Float[Tensor, "total_tokens llm_dim"], tuple[Places, ...]]:
        """Turn the features of images of any sizes, one image after another, into visual tokens in the same order.

        Args:
            features: every image in raster order, one image after another, nothing between.
            grids: the grid of each image.
            text: an instruction for each image, for connectors that read one.

        Returns:
            The visual tokens, one image after another, and where those of each image lie.

        Raises:
            ShapeError: the features do not add up to the grids, or are not `vision_dim` wide.
            GridError: a block cannot take one of the grids.
        """
        if not grids:
            raise ShapeError("packed needs the grid of at least one image, got none")
        where = f"{len(grids)} grids of together {total_size(grids)} positions"
        self._check(features[None], positions=total_size(grids), where=where, axes="(total positions, vision_dim)")
        pieces = cast("tuple[Tensor, ...]", features.split([grid.size for grid in grids]))
        tokens: list[Tensor] = [features] * len(grids)
        for grid in dict.fromkeys(grids):
            members = [index for index, other in enumerate(grids) if other == grid]
            batch = torch.stack([pieces[index] for index in members])
            batch_text = text.rows(members) if text is not None else None
            for index, out in zip(members, self(batch, grid, text=batch_text), strict=True):
                tokens[index] = out
        return torch.cat(tokens), tuple(self.spec.out_grid(grid) for grid in grids)

    def on_grid(self, grid: Grid) -> "GridConnector":
        """Return the connector with its grid fixed: a module of tensors alone, for torch.export and ONNX."""
        return GridConnector(self, grid)

    def num_tokens(self, grid: Grid) -> int:
        """Count the visual tokens of one image whose features lie on `grid`."""
        return self.spec.num_tokens(grid)

    def _check(self, features: Tensor, *, positions: int, where: str, axes: str) -> None:
        if features.ndim != 3 or features.shape[1] != positions or features.shape[2] != self.vision_dim:
            shape = tuple(features.shape) if axes.startswith("(batch") else tuple(features.shape[1:])
            raise ShapeError(
                f"features of shape {shape} do not lie on {where} with {self.vision_dim} channels: "
                f"pass {axes} = (..., {positions}, {self.vision_dim}) in raster order"
            )


class GridConnector(nn.Module):
    """A connector whose grid does not change."""

    def __init__(self, connector: Connector, grid: Grid) -> None:
        super().__init__()
        connector.spec.out_grid(grid)
        self.connector = connector
        self.grid = grid

    @override
    def forward(self, features: Float[Tensor, "batch positions vision_dim"]) -> Float[Tensor, "batch tokens llm_dim"]:
        """Turn the features of images of the fixed grid into visual tokens."""
        return self.connector(features, self.grid)
