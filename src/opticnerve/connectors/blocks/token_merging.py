"""Token merging: patches that are alike become their mean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from opticnerve.connectors.blocks.base import Block
from opticnerve.connectors.blocks.reduction import Reduce, ReduceBlock, Reduction, in_full_precision, unit
from opticnerve.errors import SpecError
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenMerging(Reduce):
    """Merge the most similar pairs of tokens until one is left for every `reduction` patches.

    A step numbers the tokens in raster order and lets every even one point to the odd one of the highest cosine; the
    most similar of these pairs are merged. A token is the mean of its patches.

    Source: Bolya et al., "Token Merging: Your ViT But Faster", 2023, section 3 (bipartite soft matching).
    Differs: works once, behind the encoder, on its features instead of on attention keys.
    """

    kind: ClassVar[str] = "token_merging"

    tokens_per_merge: int = 8
    """Tokens for each pair that one step merges, at least one pair. A small number takes few steps and is less choosy:
    at 2, a step merges every even token, be it like another or not."""

    @override
    def __post_init__(self) -> None:
        Reduce.__post_init__(self)
        if self.tokens_per_merge < 2:
            raise SpecError(f"token_merging needs tokens_per_merge of at least 2, got {self.tokens_per_merge}")

    def steps(self, grid: Places) -> Iterator[tuple[int, int]]:
        """List the steps: tokens before the step, and pairs that it merges."""
        num, keep = self.patches(grid).num_patches, self.num_kept(grid)
        while num > keep:
            pairs = min(max(num // self.tokens_per_merge, 1), num - keep)
            yield num, pairs
            num -= pairs

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return sum(2 * dim * (num - num // 2) * (num // 2) for num, _ in self.steps(grid))

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        num = self.patches(grid).num_patches
        left = num - max((pairs for _, pairs in self.steps(grid)), default=0)
        return 2 * num * dim + max(2 * left * dim, (num // 2) ** 2 if left < num else 0)

    @override
    def build(self, dim: int) -> Block:
        return TokenMergingBlock(self)


class TokenMergingBlock(ReduceBlock):
    """Applies `TokenMerging`."""

    def __init__(self, spec: TokenMerging) -> None:
        super().__init__()
        self.spec = spec

    @override
    def reduce(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Reduction:
        return merge_alike(features, pairs=[pairs for _, pairs in self.spec.steps(grid)])

    @override
    def forward(self, features: Float[Tensor, "batch patches dim"], grid: Places) -> Float[Tensor, "batch kept dim"]:
        return self.reduce(features, grid).mean(features)


def merge_alike(features: Float[Tensor, "batch patches dim"], *, pairs: Sequence[int]) -> Reduction:
    """Choose which patches become one, by bipartite soft matching.

    Args:
        features: in raster order.
        pairs: how many pairs to merge in each step, at most half of the tokens that are left.

    Returns:
        The place of a token is that of the last odd one that it was merged into.
    """
    num = features.shape[1]
    everywhere = torch.arange(num, device=features.device).expand(features.shape[0], -1)
    found = Reduction(kept=everywhere, merged=everywhere)
    features = tokens = features.detach().float()
    with in_full_precision(features):
        for count in pairs:
            found = _step(tokens, found, pairs=count)
            tokens = found.mean(features)
    return found


def _step(tokens: Float[Tensor, "batch left dim"], found: Reduction, *, pairs: int) -> Reduction:
    num, tokens = tokens.shape[1], unit(tokens)
    alike, partner = (tokens[:, ::2] @ rearrange(tokens[:, 1::2], "b n d -> b d n")).max(-1)
    leaving = alike.sort(descending=True, stable=True).indices[:, :pairs]

    numbers = torch.arange(num, device=tokens.device).expand(tokens.shape[0], -1)
    goes_to = numbers.scatter(1, 2 * leaving, 2 * partner.gather(1, leaving) + 1)
    is_gone = goes_to != numbers
    stays = is_gone.long().sort(stable=True).indices[:, : num - pairs]
    number_after = (~is_gone).cumsum(1) - 1
    moved = number_after.gather(1, goes_to)
    return Reduction(kept=found.kept.gather(1, stays), merged=moved.gather(1, found.merged))
