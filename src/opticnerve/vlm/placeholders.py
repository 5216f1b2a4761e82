"""Visual tokens take the places of the placeholders in a prompt; a count that does not fit is an error."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from opticnerve.errors import ShapeError


def check_placeholders(input_ids: Int[Tensor, "batch length"], counts: Sequence[int], *, image_token_id: int) -> None:
    """Refuse prompts that have not one placeholder for each visual token, image by image.

    Args:
        input_ids: the prompts; images in the order of the rows, and within a row from left to right.
        counts: visual tokens of each image.
        image_token_id: the placeholder.

    Raises:
        ShapeError: there are not as many placeholders as visual tokens, or an image would lie in two prompts.
    """
    placeholders = cast("list[int]", (input_ids == image_token_id).sum(1).tolist())
    if sum(placeholders) != sum(counts):
        raise ShapeError(
            f"the prompts have {sum(placeholders)} image placeholders ({_list(placeholders)} by prompt), but the "
            f"{len(counts)} images have {sum(counts)} visual tokens ({_list(counts)} by image): let the processor make "
            f"the prompts, and do not truncate them"
        )
    if not _ends(placeholders) <= _ends(counts):
        raise ShapeError(
            f"the prompts have {_list(placeholders)} image placeholders, but the images have {_list(counts)} visual "
            f"tokens: an image would be torn between two prompts. Pass the images in the order of the prompts"
        )


def splice(
    input_ids: Int[Tensor, "batch length"],
    tokens: Sequence[Float[Tensor, "_ llm_dim"]],
    *,
    embedding: nn.Module,
    image_token_id: int,
) -> Float[Tensor, "batch length llm_dim"]:
    """Embed prompts, with visual tokens where their placeholders stand.

    The placeholder's own embedding is never looked at.

    Args:
        input_ids: the prompts.
        tokens: visual tokens of each image, in the order of the placeholders; as many as there are of them.
        embedding: of the LLM.
        image_token_id: the placeholder.
    """
    is_image = input_ids == image_token_id
    embeds: Tensor = embedding(input_ids.masked_fill(is_image, 0))
    return embeds.masked_scatter(is_image[..., None], torch.cat(list(tokens)).to(embeds))


def _ends(counts: Sequence[int]) -> set[int]:
    total, ends = 0, {0}
    for count in counts:
        total += count
        ends.add(total)
    return ends


def _list(counts: Sequence[int]) -> str:
    shown = ", ".join(map(str, counts[:8]))
    return f"{shown}, ..." if len(counts) > 8 else shown or "none"
