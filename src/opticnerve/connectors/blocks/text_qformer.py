"""Text Q-Former: queries that have read an instruction before they look."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from opticnerve.connectors.blocks.attention import learned_queries
from opticnerve.connectors.blocks.base import Block, TextBlock, TextTokens
from opticnerve.connectors.blocks.norm import make_norm
from opticnerve.connectors.blocks.qformer import PostNormFeedForward, QFormer, QFormerLayer
from opticnerve.errors import ShapeError, SpecError
from opticnerve.grid import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class TextQFormer(QFormer):
    """A Q-Former whose queries also talk to the words of an instruction; only the queries come out.

    The words have their own feed-forward networks and never look at the image. What they add to `flops` depends on
    how many they are: `text_flops`.

    Source: Dai et al., "InstructBLIP", 2023, section 2.3; InstructBlipQFormerModel of transformers.
    Differs: no dropout; the last layer has no feed-forward network for words, whose result nobody reads.
    """

    kind: ClassVar[str] = "text_qformer"

    vocab_size: int = 30523
    """Words that have an embedding: BERT's 30522, and one for the begin of a decoder's text."""
    max_text_length: int = 512
    """Longest instruction, in tokens."""

    @override
    def __post_init__(self) -> None:
        QFormer.__post_init__(self)
        if self.vocab_size < 1 or self.max_text_length < 1:
            raise SpecError(
                f"a text Q-Former needs words and room for them, got vocab_size={self.vocab_size} and "
                f"max_text_length={self.max_text_length}"
            )

    def text_flops(self, length: int) -> int:
        """Count the floating-point operations that an instruction adds to those of the image.

        Args:
            length: tokens of the instruction, padding included.
        """
        queries, width, earlier = self.num_queries, self.hidden_dim, self.num_layers - 1
        alone = self.attention_flops(queries=queries, keys=queries, key_dim=width)
        both = self.attention_flops(queries=queries + length, keys=queries + length, key_dim=width)
        last = self.attention_flops(queries=queries, keys=queries + length, key_dim=width)
        think = 4 * length * width * self.feed_forward_dim
        return earlier * (both - alone + think) + last - alone

    @override
    def build(self, dim: int) -> Block:
        return TextQFormerBlock(self, dim)


class TextQFormerBlock(TextBlock):
    """Applies `TextQFormer`."""

    def __init__(self, spec: TextQFormer, dim: int) -> None:
        super().__init__()
        self.max_text_length = spec.max_text_length
        self.queries = learned_queries(spec.num_queries, spec.hidden_dim, std=0.02)
        self.words = nn.Embedding(spec.vocab_size, spec.hidden_dim)
        self.positions = nn.Parameter(torch.empty(spec.max_text_length, spec.hidden_dim))
        for table in (self.words.weight, self.positions):
            nn.init.normal_(table, std=0.02)
        self.norm = make_norm("layer", dim=spec.hidden_dim, eps=spec.eps)
        self.layers = nn.ModuleList(TextQFormerLayer(spec, dim=dim, index=index) for index in range(spec.num_layers))

    @override
    def forward(
        self, features: Float[Tensor, "batch positions dim"], grid: Places, text: TextTokens | None = None
    ) -> Float[Tensor, "batch queries hidden"]:
        text = self._checked(text, batch=features.shape[0])
        length = text.ids.shape[1]
        queries = self.norm(self.queries).expand(features.shape[0], -1, -1)
        words = self.norm(self.words(text.ids) + self.positions[:length])
        mask = torch.cat([text.mask.new_ones(queries.shape[:2]), text.mask], dim=1)[:, None, None]
        for layer in self.layers:
            queries, words = layer(queries, words, features, mask)
        return queries

    def _checked(self, text: TextTokens | None, *, batch: int) -> TextTokens:
        if text is None:
            raise ShapeError(
                "this Q-Former reads an instruction: pass text=TextTokens(ids=..., mask=...) with one row for each "
                "image, or build a Q-Former without text"
            )
        shape = tuple(text.ids.shape)
        if shape[:1] != (batch,) or len(shape) != 2 or shape[1] > self.max_text_length or text.mask.shape != shape:
            raise ShapeError(
                f"text has ids of shape {shape} and a mask of shape {tuple(text.mask.shape)}, but this Q-Former needs "
                f"both as (images, tokens) = ({batch}, at most {self.max_text_length})"
            )
        return text


class TextQFormerLayer(nn.Module):
    """Queries and words talk together; then the queries look and think, and the words think by themselves."""

    def __init__(self, spec: TextQFormer, *, dim: int, index: int) -> None:
        super().__init__()
        self.layer = QFormerLayer(spec, key_dim=dim if spec.looks(index) else 0)
        self.text_think = PostNormFeedForward(spec) if index < spec.num_layers - 1 else None

    @override
    def forward(
        self,
        queries: Float[Tensor, "batch queries hidden"],
        words: Float[Tensor, "batch words hidden"],
        features: Float[Tensor, "batch positions dim"],
        mask: Tensor,
    ) -> tuple[Float[Tensor, "batch queries hidden"], Float[Tensor, "batch words hidden"]]:
        """Apply the layer.

        Args:
            queries: the queries.
            words: the instruction.
            features: of the images.
            mask: True for queries and tokens, False for padding; (batch, 1, 1, queries + words).

        Returns:
            The queries and the words; the last layer leaves the words as they are.
        """
        seen = torch.cat([queries, words], dim=1)
        if self.text_think is None:
            return self.layer.look_and_think(self.layer.talk(queries, seen, mask), features), words
        talked = self.layer.talk(seen, seen, mask)
        queries, words = talked[:, : queries.shape[1]], talked[:, queries.shape[1] :]
        return self.layer.look_and_think(queries, features), self.text_think(words)
