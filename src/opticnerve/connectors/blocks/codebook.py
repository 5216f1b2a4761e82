"""Codebooks: a token becomes a mixture of learned codes, or the one that is nearest to it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from opticnerve.connectors.blocks.base import LLM, Block, BlockSpec, Dim, fixed
from opticnerve.errors import SpecError
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class Codebook(BlockSpec):
    """Read a token's channels as scores of visual words, and give back those words' embeddings, mixed.

    There is a word for each channel that comes in. The number of tokens stays. The LLM sees mixtures of the rows of one
    table, as it sees single rows of another for text; what the table cannot say is lost.

    Source: Lu et al., "Ovis", 2024, section 3; Ovis2VisualEmbeddingTable (transformers).
    """

    kind: ClassVar[str] = "codebook"

    dim: Dim = LLM
    """Channels of an embedding, which come out."""
    choice: Literal["softmax", "argmax"] = "softmax"
    """Whether words are mixed by the softmax of their scores, or the best one is taken (its gradient is the softmax's:
    "st_argmax" of Ovis)."""
    num_extra: int = 0
    """Rows behind the words' that no token is made of: in Ovis the embeddings of the marks around an image."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.num_extra < 0:
            raise SpecError(f"codebook needs num_extra of at least 0 rows, got {self.num_extra}")

    @override
    def out_dim(self, dim: int) -> int:
        return fixed(self.dim)

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return 2 * grid.size * dim * fixed(self.dim)

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        mixed = 2 * dim + fixed(self.dim)
        return grid.size * (mixed if self.choice == "softmax" else max(mixed, 5 * dim))

    @override
    def build(self, dim: int) -> "CodebookBlock":
        return CodebookBlock(self, dim)


class CodebookBlock(Block):
    """Applies `Codebook`.

    Attributes:
        table: the embeddings of the words, then the extra rows.
    """

    def __init__(self, spec: Codebook, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.num_words = dim
        self.table = nn.Parameter(torch.randn(dim + spec.num_extra, fixed(spec.dim)) * 0.02)

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch positions out"]:
        weights = features.softmax(-1)
        if self.spec.choice == "argmax":
            best = torch.zeros_like(weights).scatter(-1, weights.argmax(-1, keepdim=True), 1.0)
            weights = best - weights.detach() + weights
        return weights @ self.table[: self.num_words]


@dataclass(frozen=True, kw_only=True, slots=True)
class NearestCode(BlockSpec):
    """Replace each token by the nearest of `num_codes` learned codes. Tokens and width stay, all else is lost.

    The gradient passes straight through to the features. The codes get none: in the published models they are trained
    with a VQ-VAE, by a loss of their own, and are frozen after that.

    Source: van den Oord et al., "Neural Discrete Representation Learning", 2017; VectorQuantizer of Chameleon, Emu3 and
    GLM-Image (transformers).
    """

    kind: ClassVar[str] = "nearest_code"

    num_codes: int = 8192
    """Codes to choose from."""
    is_normalised: bool = False
    """Whether tokens and codes are scaled to length 1 before they are compared (GLM-Image); so is what comes out."""

    @override
    def __post_init__(self) -> None:
        BlockSpec.__post_init__(self)  # super() does not work in dataclasses with slots
        if self.num_codes < 1:
            raise SpecError(f"nearest_code needs num_codes of at least 1, got {self.num_codes}")

    @override
    def flops(self, grid: Places, dim: int) -> int:
        return 2 * grid.size * dim * self.num_codes

    @override
    def activation_values(self, grid: Places, dim: int) -> int:
        tokens = (2 if self.is_normalised else 1) * dim
        return grid.size * (tokens + max(2 * self.num_codes + dim, 3 * dim))

    @override
    def build(self, dim: int) -> "NearestCodeBlock":
        return NearestCodeBlock(self, dim)


class NearestCodeBlock(Block):
    """Applies `NearestCode`.

    Attributes:
        codes: one a row.
    """

    def __init__(self, spec: NearestCode, dim: int) -> None:
        super().__init__()
        self.spec = spec
        bound = 1 / spec.num_codes
        self.codes = nn.Parameter(torch.empty(spec.num_codes, dim).uniform_(-bound, bound), requires_grad=False)

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places
    ) -> Float[Tensor, "batch positions dim"]:
        features, codes = self._scaled(features), self._scaled(self.codes)
        chosen = F.embedding(_nearest(features, codes), codes).to(features.dtype)
        return features + (chosen - features).detach()

    def numbers(self, features: Float[Tensor, "batch positions dim"]) -> Int[Tensor, "batch positions"]:
        """Say which code is nearest to each token: the number that an LLM's own vocabulary turns into a word."""
        return _nearest(self._scaled(features), self._scaled(self.codes))

    def _scaled(self, x: Float[Tensor, "*any dim"]) -> Float[Tensor, "*any dim"]:
        return F.normalize(x, dim=-1) if self.spec.is_normalised else x


def _nearest(
    features: Float[Tensor, "batch positions dim"], codes: Float[Tensor, "codes dim"]
) -> Int[Tensor, "batch positions"]:
    """Compare squared distances, the features' own length left out because it is the same for every code."""
    return (codes.square().sum(-1) - 2 * features @ codes.T).argmin(-1)
