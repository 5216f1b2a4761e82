"""Spreading: patches that lie as far from each other as can be found by taking one after another."""

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor

from opticnerve.connectors.blocks.reduction import Reduction


def spread_out(
    distances: Float[Tensor, "batch patches patches"], *, first: Int[Tensor, " batch"], keep: int
) -> Reduction:
    """Keep, again and again, the patch whose nearest kept patch is farthest away; of equal ones the first.

    Args:
        distances: between all patches, in any measure that grows with the distance.
        first: the patch that is kept to begin with.
        keep: patches that are kept.
    """
    batch, num, _ = distances.shape
    numbers = torch.arange(num, device=distances.device)
    order, pick = [first[:, None]], first[:, None]
    to_nearest, nearest = _row(distances, pick), torch.zeros_like(numbers).expand(batch, -1)
    is_kept = numbers == pick
    for count in range(1, keep):
        pick = to_nearest.masked_fill(is_kept, -torch.inf).argmax(-1, keepdim=True)
        order.append(pick)
        is_new, distance = numbers == pick, _row(distances, pick)
        nearest = nearest.masked_fill(is_new | (distance < to_nearest) & ~is_kept, count)
        to_nearest, is_kept = torch.minimum(to_nearest, distance), is_kept | is_new
    kept, sorting = torch.cat(order, dim=1).sort()
    return Reduction(kept=kept, merged=sorting.argsort().gather(1, nearest))


def _row(distances: Float[Tensor, "batch patches patches"], pick: Int[Tensor, "batch 1"]) -> Tensor:
    return distances.gather(1, repeat(pick, "b 1 -> b 1 n", n=distances.shape[-1])).squeeze(1)
