"""Visual tokens that are spelled out: what a cell of a scene shows, said in the LLM's own words."""

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import PreTrainedTokenizerBase

from opticnerve.data.reading import MAX_CODE, Symbols, label_cells
from opticnerve.encoders.bundled.probe import ALPHABET, COLORS, KINDS

_SEED = 20261122
_NUM_TURNS = MAX_CODE + 3


class SpelledTokens(nn.Module):
    """From the classes of a cell to a visual token: the sum of one vector for each label, and one for its box.

    Every vector is the LLM's own embedding of a word: of the colour, the shape, the character, the digit. What stands
    for the same word in another place (the second character, the second colour) is that embedding turned by a fixed
    random rotation, so that nothing is learned here and a question finds what it names. An empty cell is a full stop: a
    zero vector would be blown up to noise by the LLM's first norm.

    Args:
        tokenizer: the LLM's.
        dim: width of the LLM's embeddings.
    """

    symbol_ids: Tensor
    kind_ids: Tensor
    color_ids: Tensor
    digit_ids: Tensor
    turns: Tensor
    sides: Tensor

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, dim: int) -> None:
        super().__init__()
        words = {
            "symbol_ids": tuple(ALPHABET),
            "kind_ids": (".", "code", *KINDS[1:]),
            "color_ids": tuple(COLORS),
            "digit_ids": tuple("123456789"),
        }
        for name, some in words.items():
            ids = [tokenizer.encode(word, add_special_tokens=False)[0] for word in some]
            self.register_buffer(name, torch.tensor(ids), persistent=False)
        generator = torch.Generator().manual_seed(_SEED)
        turns, _ = cast(
            "tuple[Tensor, Tensor]", torch.linalg.qr(torch.randn(_NUM_TURNS, dim, dim, generator=generator))
        )
        self.register_buffer("turns", turns, persistent=False)
        self.register_buffer("sides", torch.randn(4, dim, generator=generator), persistent=False)

    def vectors(self, words: Float[Tensor, "vocabulary dim"]) -> list[Float[Tensor, "_ dim"]]:
        """Return the vector of every class of every label.

        Args:
            words: the LLM's embeddings.
        """
        symbols, second_kinds, colors, digits = (
            torch.cat([words.new_zeros(1, words.shape[1]), words[ids]])
            for ids in (self.symbol_ids, self.kind_ids[1:], self.color_ids, self.digit_ids)
        )
        kinds = words[self.kind_ids]
        second_kind, second_color, value = self.turns[MAX_CODE:]
        characters = [symbols @ turn for turn in self.turns[:MAX_CODE]]
        return [*characters, kinds, colors, second_kinds @ second_kind, colors @ second_color, digits @ value]

    def forward(
        self,
        classes: Int[Tensor, "batch cells labels"],
        boxes: Float[Tensor, "batch cells 4"],
        words: Float[Tensor, "vocabulary dim"],
    ) -> Float[Tensor, "batch cells dim"]:
        """Spell out cells.

        Args:
            classes: of each label.
            boxes: of the thing that fills most of the cell.
            words: the LLM's embeddings.
        """
        vectors = [embedding(classes[..., label], table) for label, table in enumerate(self.vectors(words))]
        is_full = (classes[..., MAX_CODE] > 0)[..., None]
        where = torch.where(is_full, 2 * boxes - 1, 0.0) @ self.sides * words.detach().std()
        return torch.stack(vectors).sum(0) + where


def stack_cells(items: list[Tensor], *, rows: int, cols: int) -> tuple[Tensor, Tensor]:
    """Label the cells of several scenes.

    Args:
        items: the table of each scene (`item_table`).
        rows: of the map.
        cols: of the map.

    Returns:
        Classes (scenes, cells, labels) and boxes (scenes, cells, 4).
    """
    cells: list[Symbols] = [label_cells(table.cpu(), rows=rows, cols=cols) for table in items]
    where = items[0].device
    return torch.stack([one.classes for one in cells]).to(where), torch.stack([one.boxes for one in cells]).to(where)
