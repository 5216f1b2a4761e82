"""The connector learns to say, in the LLM's own vectors, what each visual token shows."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from opticnerve.data.reading import LABELS, MAX_CODE, NUM_CLASSES
from opticnerve.errors import SpecError
from opticnerve.grid import Places, Queries
from opticnerve.train.objectives.base import LossSum, Objective, model_inputs
from opticnerve.train.objectives.spelled import SpelledTokens, stack_cells

_BOX_WEIGHT = 10.0
_MATCH_WEIGHT = 4.0
_EMPTY_WEIGHT = 0.3
"""Of all empty cells together; full ones have 1."""
_TEXT, _BAR = 1, 8


class AlignmentLoss(Objective):
    """Dense labels for visual tokens; an item is a token.

    Each token is asked by linear maps, which exist in training only, for its characters, kinds, colours, steps and box;
    and it is pulled towards the vector that spells its cell out. Tokens on a grid are asked for the cell that they come
    from; learned queries, which come from nowhere, for one cell each, row by row.

    Full and empty cells are averaged apart, within a micro-batch: cutting a batch into smaller ones moves this loss by
    a percent or so, unlike that of answers.

    Args:
        tokenizer: the LLM's.
        dim: width of the LLM's embeddings.

    Source: the dense supervision is this library's own; spelling visual tokens out in an embedding table follows Ovis
    (Lu et al., 2024), which keeps the table in the model and this does not.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, dim: int) -> None:
        super().__init__()
        self.spelled = SpelledTokens(tokenizer, dim=dim)
        self.classes = nn.Linear(dim, sum(NUM_CLASSES))
        self.box = nn.Linear(dim, 4)

    @override
    def forward(self, model: nn.Module, batch: Mapping[str, object]) -> LossSum:
        tokens, rows, cols = image_tokens(model, batch)
        items = cast("Mapping[str, list[Tensor]]", batch["labels_extra"])["items"]
        classes, boxes = stack_cells(items, rows=rows, cols=cols)
        words = cast("Any", model).get_input_embeddings().weight
        return self.loss(tokens.float(), classes, boxes, words=words)

    def loss(
        self,
        tokens: Float[Tensor, "batch cells dim"],
        classes: Int[Tensor, "batch cells labels"],
        boxes: Float[Tensor, "batch cells 4"],
        *,
        words: Float[Tensor, "vocabulary dim"],
    ) -> LossSum:
        """Compare visual tokens with the labels of their cells.

        Args:
            tokens: of each image.
            classes: of each label of each cell.
            boxes: of the thing that fills most of each cell.
            words: the LLM's embeddings.

        Returns:
            The mean loss of a token, times the number of tokens.
        """
        is_full = classes[..., MAX_CODE] > 0
        losses = [
            self._label(label, scores, classes, is_full)
            for label, scores in enumerate(self.classes(tokens).split(NUM_CLASSES, dim=-1))
        ]
        wrong = (self.box(tokens) - boxes).abs().mean(-1)
        target = self.spelled(classes, boxes, words).detach()
        distance = (tokens - target).square().mean(-1) / target.square().mean()
        losses += [_BOX_WEIGHT * _mean(wrong, is_full), _MATCH_WEIGHT * _balanced(distance, is_full)]
        count = torch.tensor(is_full.numel(), device=tokens.device)
        return LossSum(total=torch.stack(losses).sum() * count, count=count, logs={})

    def _label(self, label: int, scores: Tensor, classes: Tensor, is_full: Tensor) -> Tensor:
        """Cross-entropy of one label, where it has a fair answer."""
        kind, wanted = classes[..., MAX_CODE], classes[..., label]
        loss = cross_entropy(scores.flatten(0, 1), wanted.flatten(), reduction="none").view_as(wanted)
        if label < MAX_CODE:
            return _mean(loss, kind == _TEXT)
        if LABELS[label] == "value":
            return _mean(loss, kind == _BAR)
        return _balanced(loss, wanted > 0)


def image_tokens(model: nn.Module, batch: Mapping[str, object]) -> tuple[Float[Tensor, "images cells dim"], int, int]:
    """Make the visual tokens of a batch whose images all lie on one map.

    Args:
        model: the vision-language model.
        batch: what the collator has made.

    Returns:
        The tokens, and the rows and columns of their map.

    Raises:
        SpecError: the images have several tiles, or differ in size.
    """
    vlm: Any = getattr(model, "model", model)
    given, sizes = model_inputs(batch), cast("Tensor", batch["image_sizes"])
    plans = vlm.plans(sizes)
    grids = {grid for plan in plans for grid in vlm.sight.grids(plan)}
    if len(grids) != 1 or any(len(plan.token_canvases) != 1 or plan.token_canvases[0].num_tiles != 1 for plan in plans):
        raise SpecError(
            'alignment labels one map of tokens for each image, but the images have several tiles: use tiling "plain"'
        )
    features = given.get("image_features")
    if features is None:
        features = vlm.image_features(given["pixel_values"], sizes)
    tokens = torch.stack(list(vlm.visual_tokens(features, sizes)))
    rows, cols = map_of(vlm.multi_modal_projector.connector.spec.out_grid(grids.pop()))
    return tokens, rows, cols


def map_of(places: Places) -> tuple[int, int]:
    """Give the map of labels: the tokens' own grid, or the one that learned queries start from.

    Args:
        places: where the tokens lie. Queries that start from nowhere get the most nearly square map.
    """
    if isinstance(places, Queries):
        if places.spread is not None:
            return places.spread
        rows = max(side for side in range(1, int(places.num**0.5) + 1) if places.num % side == 0)
        return rows, places.num // rows
    return places.rows, places.cols


def _balanced(loss: Tensor, is_full: Tensor) -> Tensor:
    """Average over full cells and over empty ones, of which there are many, and add the two up."""
    return _mean(loss, is_full) + _EMPTY_WEIGHT * _mean(loss, ~is_full)


def _mean(loss: Tensor, where: Tensor) -> Tensor:
    return (loss * where).sum() / where.sum().clamp(min=1)
