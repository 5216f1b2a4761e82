"""From the features of many images to the visual tokens of each: the connector, and the vector that ends a row."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors import Connector, ConnectorSpec, with_spec
from opticnerve.errors import GridError
from opticnerve.tiling import TilePlan
from opticnerve.views import Sight, join


class Projector(nn.Module):
    """A connector for the tiles, and their order in the prompt.

    The connector is computed as its rewrites for training have it (`Connector.optimized`): the same numbers, gradients
    and names of weights, with fewer operations.

    Args:
        sight: how images are seen.
        spec: the connector.
        llm_dim: width of the LLM's embeddings.
    """

    def __init__(self, sight: Sight, spec: ConnectorSpec, *, llm_dim: int) -> None:
        super().__init__()
        self.sight = sight
        self.connector: Connector = _cheaper(spec.build(vision_dim=sight.dim, llm_dim=llm_dim), sight)
        if _has_newline(sight):
            # As LLaVA-NeXT begins: of the length of a token's embedding.
            self.newline = nn.Parameter(torch.randn(llm_dim) * llm_dim**-0.5)

    def with_spec(self, spec: ConnectorSpec) -> Connector:
        """Return a connector of another spec with this one's weights, shared: at another budget, say.

        Args:
            spec: with options that leave the weights as they are.

        Raises:
            SpecError: the spec needs other weights.
        """
        return _cheaper(with_spec(self.connector, spec), self.sight)

    @override
    def forward(
        self, features: Float[Tensor, "total_positions vision_dim"], plans: Sequence[TilePlan]
    ) -> tuple[Float[Tensor, "_ llm_dim"], ...]:
        """Turn the features of many images into visual tokens.

        Args:
            features: packed, as `encode_views` gives them; of any floating type.
            plans: the plan of each image.

        Returns:
            The visual tokens of each image, joined as the tiling packs them.

        Raises:
            ShapeError: the features are not those of the plans.
            GridError: the connector cannot take a grid.
        """
        parameter = next(self.parameters(), features)
        grids = [self.sight.grids(plan) for plan in plans]
        tokens, places = self.connector.packed(features.to(parameter.dtype), [grid for own in grids for grid in own])
        if all(plan.packing.merge == "flat" and not plan.packing.has_newline for plan in plans) and _one_scale(plans):
            sizes = [plan.num_tokens(own) for plan, own in zip(plans, _deal(places, grids), strict=True)]
            return torch.split(tokens, sizes)
        parts = _deal(torch.split(tokens, [place.size for place in places]), grids)
        newline = self.newline if _has_newline(self.sight) else tokens.new_zeros(tokens.shape[-1])
        dealt = zip(plans, parts, _deal(places, grids), strict=True)
        return tuple(join(plan, own, where, newline=newline) for plan, own, where in dealt)


def _cheaper(connector: Connector, sight: Sight) -> Connector:
    """Compute a connector in the way that costs the least on the grid of a native tile, with equal gradients."""
    try:
        return connector.optimized(mode="train", grid=sight.grids(sight.plan(*sight.info.native_px))[0])
    except GridError:  # there is nothing to count; whoever runs it on that grid is told why
        return connector


def _has_newline(sight: Sight) -> bool:
    return sight.plan(*sight.info.native_px).packing.has_newline


def _one_scale(plans: Sequence[TilePlan]) -> bool:
    return all(len(plan.token_canvases) == len(plan.canvases) for plan in plans)


def _deal(items: Sequence[Any], like: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Cut a flat sequence into one piece for each image."""
    ends = list(accumulate(len(own) for own in like))
    return [items[end - len(own) : end] for end, own in zip(ends, like, strict=True)]
