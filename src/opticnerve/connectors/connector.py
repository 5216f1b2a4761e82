"""The module between encoder and LLM: features on a grid in, visual tokens out, dense or packed."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks import Block, TextBlock, TextTokens
from opticnerve.errors import ShapeError
from opticnerve.grid import Grid, Places, total_size

if TYPE_CHECKING:
    from opticnerve.connectors.rewrites import Mode, Step
    from opticnerve.connectors.spec import ConnectorSpec

    _Packed = Callable[..., tuple[Tensor, tuple[Places, ...]]]


class Connector(nn.Module):
    """Applies the blocks of a spec in order.

    Attributes:
        spec: the plain data that it was built from.
        vision_dim: width of the features that it takes.
        llm_dim: width that it was built for.
        blocks: the modules of the spec's blocks, which hold all parameters.
        program: steps that compute the same as the blocks one after another; empty for just that.
    """

    def __init__(
        self,
        spec: "ConnectorSpec",
        blocks: Iterable[Block],
        *,
        vision_dim: int,
        llm_dim: int,
        program: "Iterable[Step]" = (),
    ) -> None:
        super().__init__()
        self.spec = spec
        self.vision_dim = vision_dim
        self.llm_dim = llm_dim
        self.blocks = nn.ModuleList(blocks)
        self.program = nn.ModuleList(program)

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
        if features.ndim != 3 or features.shape[1:] != (grid.size, self.vision_dim):
            raise self._misfit(features, grid.size, where=f"the grid {grid}", axes="(batch, positions, vision_dim)")
        places: Places = grid
        if self.program and text is None:
            for step in cast("Iterable[Step]", self.program):
                features = step(features, places, self.blocks)
                places = step.out_grid(places)
            return features
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

        All images of one grid are one batch. A list of grids is never part of a compiled graph: only the dense form is
        compiled, and `connector.compile()` does so in place, for here too; `torch.compile(connector).packed` is plain.

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
        if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
            # Every list of grids would be a graph of its own.
            plain = cast("_Packed", torch.compiler.disable(Connector._packed))
            return plain(self, features, grids, text)
        return self._packed(features, grids, text)

    def optimized(self, *, mode: "Mode" = "train", grid: Grid) -> "Connector":
        """Return the same connector, computed in a cheaper way where the counted costs say that it pays.

        Parameters are shared with this one, and keep their names. The result holds on every grid; `grid` is the one
        that costs are counted for.

        Args:
            mode: "train" takes rewrites whose gradients are equal too. "inference" takes all, some of them made from
                the weights as they are now: call it again when they have changed.
            grid: where the features of an image, or a tile, usually lie.

        Raises:
            GridError: a block cannot take the grid.
        """
        from opticnerve.connectors.rewrites import optimize

        return optimize(self, mode=mode, grid=grid)

    def with_program(self, program: "Iterable[Step]") -> "Connector":
        """Return a connector of the same blocks that computes them by another program.

        Args:
            program: steps that compute the same.
        """
        widths = {"vision_dim": self.vision_dim, "llm_dim": self.llm_dim}
        other = Connector(self.spec, cast("Iterable[Block]", self.blocks), **widths, program=program)
        return other.train(self.training)

    def on_grid(self, grid: Grid) -> "GridConnector":
        """Return the connector with its grid fixed: a module of tensors alone, for torch.export and ONNX."""
        return GridConnector(self, grid)

    def num_tokens(self, grid: Grid) -> int:
        """Count the visual tokens of one image whose features lie on `grid`."""
        return self.spec.num_tokens(grid)

    def _packed(
        self, features: Tensor, grids: Sequence[Grid], text: TextTokens | None
    ) -> tuple[Tensor, tuple[Places, ...]]:
        if not grids:
            raise ShapeError("packed needs the grid of at least one image, got none")
        total = total_size(grids)
        if features.shape != (total, self.vision_dim):
            where = f"{len(grids)} grids of together {total} positions"
            raise self._misfit(features, total, where=where, axes="(total positions, vision_dim)")
        if text is not None and len(text.ids) != len(grids):
            raise ShapeError(f"text has {len(text.ids)} rows for {len(grids)} images: pass one row for each image")
        runs = [(grid, list(images)) for grid, images in groupby(range(len(grids)), key=lambda image: grids[image])]
        tokens = list(_split(features, [grid.size * len(images) for grid, images in runs]))
        members: dict[Grid, list[int]] = {}
        for number, (grid, _) in enumerate(runs):
            members.setdefault(grid, []).append(number)
        for grid, numbers in members.items():
            images = [image for number in numbers for image in runs[number][1]]
            batch = _joined([tokens[number] for number in numbers]).view(len(images), grid.size, self.vision_dim)
            out = self(batch, grid, text=text.rows(images) if text is not None else None)
            pieces = _split(out.flatten(0, 1), [out.shape[1] * len(runs[number][1]) for number in numbers])
            for number, piece in zip(numbers, pieces, strict=True):
                tokens[number] = piece
        places = {grid: self.spec.out_grid(grid) for grid in members}
        return _joined(tokens), tuple(places[grid] for grid in grids)

    def _misfit(self, features: Tensor, positions: int, *, where: str, axes: str) -> ShapeError:
        return ShapeError(
            f"features of shape {tuple(features.shape)} do not lie on {where} with {self.vision_dim} channels: "
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
    def forward(
        self,
        features: Float[Tensor, "batch positions vision_dim"],
        ids: Int[Tensor, "batch length"] | None = None,
        mask: Bool[Tensor, "batch length"] | None = None,
    ) -> Float[Tensor, "batch tokens llm_dim"]:
        """Turn the features of images of the fixed grid into visual tokens.

        Args:
            features: in raster order.
            ids: of `TextTokens`, for connectors that read an instruction.
            mask: of `TextTokens`, together with `ids`.

        Raises:
            ShapeError: only one of `ids` and `mask` is there.
        """
        if ids is None and mask is None:
            return self.connector(features, self.grid)
        if ids is None or mask is None:
            raise ShapeError("an instruction is ids and mask together: pass both, or none")
        return self.connector(features, self.grid, text=TextTokens(ids=ids, mask=mask))


def _split(features: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    return cast("tuple[Tensor, ...]", features.split(sizes))


def _joined(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
