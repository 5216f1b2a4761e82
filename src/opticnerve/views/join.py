"""From the visual tokens of an image's tiles to the one sequence that the language model reads."""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from opticnerve.grid import Places
from opticnerve.tiling import TilePlan, pack


def join(
    plan: TilePlan,
    tokens: Sequence[Float[Tensor, "_ llm_dim"]],
    places: Sequence[Places],
    *,
    newline: Float[Tensor, " llm_dim"],
) -> Float[Tensor, "tokens llm_dim"]:
    """Join the tokens of one image as its tiling does; as many come out as `plan.num_tokens(places)` counts.

    Args:
        plan: the plan of the image.
        tokens: visual tokens of each tile that has some, in encoder order.
        places: where the tokens of each tile lie.
        newline: the learned vector that ends a row; looked at only where the tiling has rows to end.

    Raises:
        GridError: the places are not those of the plan's tiles, or are queries that were to lie on a map.
    """
    if len(plan.token_canvases) == len(plan.canvases):
        return pack(plan, tokens, places, newline=newline if plan.packing.has_newline else None)
    # NVILA lets the tokens of its output scale run row by row over the whole image.
    (canvas,) = plan.token_canvases
    place = places[0].spatial("dynamic S2")
    pattern = "(rows cols) (h w) dim -> (rows h cols w) dim"
    return rearrange(torch.stack(list(tokens)), pattern, rows=canvas.rows, cols=canvas.cols, h=place.rows)
