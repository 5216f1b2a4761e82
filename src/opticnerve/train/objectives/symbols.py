"""The LLM learns the questions on visual tokens that are spelled out, before it ever sees a picture."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from opticnerve.data.examples import IGNORED
from opticnerve.data.reading import MAX_CODE, NUM_CLASSES
from opticnerve.train.objectives.base import LossSum, Objective, token_loss
from opticnerve.train.objectives.spelled import SpelledTokens, stack_cells

_WRONG_SHARE = 0.02
"""Labels that are replaced by random ones: a connector will be wrong at times."""
_SAME_PLACE = 1e-4
"""Distance of two middles, as a share of the scene, below which they belong to one thing."""
_BLUR = 0.05
"""Noise on the tokens, as a share of their deviation."""


class SymbolLoss(Objective):
    """Next-token loss on answers, with visual tokens made from labels; an item is an answer token.

    The samples have no picture: the visual tokens are put in where the first image would stand. Each micro-batch has
    them on one map, drawn from `grids`. Questions about things that a coarse map does not show have no loss: a
    third of them without an answer in sight was enough to keep a small model from ever looking for one.

    Args:
        tokenizer: the LLM's, with its chat template.
        dim: width of the LLM's embeddings.
        grids: rows and columns to draw from; what stands there twice comes twice as often.
        image_token: what stands for an image in the template.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, dim: int, grids: Sequence[tuple[int, int]], image_token: str
    ) -> None:
        super().__init__()
        self.spelled = SpelledTokens(tokenizer, dim=dim)
        self.grids = tuple(grids)
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": image_token}], tokenize=False)
        self.num_before = len(tokenizer.encode(str(prompt).split(image_token)[0], add_special_tokens=False))

    @override
    def forward(self, model: nn.Module, batch: Mapping[str, object]) -> LossSum:
        llm: Any = cast("Any", model).parts["llm"]
        rows, cols = self.grids[int(torch.randint(len(self.grids), ()))]
        extra = cast("Mapping[str, list[Tensor]]", batch["labels_extra"])
        classes, boxes = stack_cells(extra["items"], rows=rows, cols=cols)
        words = llm.get_input_embeddings()
        tokens = self.spelled(_spoil(classes), boxes, words.weight)
        is_full = (classes[..., MAX_CODE] > 0)[..., None]
        tokens = tokens + _BLUR * tokens.std().detach() * torch.randn_like(tokens) * is_full
        ids, labels = cast("Tensor", batch["input_ids"]), answerable(cast("Tensor", batch["labels"]), extra, boxes)
        mask = cast("Tensor", batch["attention_mask"])
        embeds = _insert(words(ids), tokens, at=self.num_before)
        labels = _insert(labels, labels.new_full(tokens.shape[:2], IGNORED), at=self.num_before)
        mask = _insert(mask, mask.new_ones(tokens.shape[:2]), at=self.num_before)
        logits = llm(inputs_embeds=embeds, attention_mask=mask, use_cache=False).logits
        total, count = token_loss(logits, labels)
        return LossSum(total=total, count=count, logs={})


def answerable(labels: Tensor, extra: Mapping[str, list[Tensor]], boxes: Tensor) -> Tensor:
    """Take the loss from answers about things that no cell shows.

    Args:
        labels: (rows, positions); each run of labels is the answer of one question, in the order of "asked".
        extra: "items" and "asked" of each row.
        boxes: (rows, cells, 4), of the thing that fills most of each cell.
    """
    is_label = labels != IGNORED
    starts = is_label & ~is_label.roll(1, dims=1)
    question = (starts.cumsum(1) - 1).clamp(min=0)
    kept = torch.zeros_like(is_label)
    for row, (items, asked) in enumerate(zip(extra["items"], extra["asked"], strict=True)):
        centers = (items[:, :2] + items[:, 2:4]) / 2
        # By products of matrices, as cdist has it by default from 26 cells on, it is too coarse to find a thing again.
        away = torch.cdist(centers, boxes[row, :, :2], compute_mode="donot_use_mm_for_euclid_dist")
        is_shown = (away < _SAME_PLACE).any(1)
        is_fair = torch.where(asked < 0, True, is_shown[asked.clamp(min=0)])
        kept[row] = is_fair[question[row]]
    return torch.where(kept, labels, IGNORED)


def _insert(row: Tensor, new: Tensor, *, at: int) -> Tensor:
    return torch.cat([row[:, :at], new.to(row.dtype), row[:, at:]], dim=1)


def _spoil(classes: Tensor) -> Tensor:
    """Replace a few labels that say something by others that say something; an empty cell stays empty."""
    shape = classes.shape[:-1]
    other = torch.stack([torch.randint(1, count, shape, device=classes.device) for count in NUM_CLASSES], dim=-1)
    is_wrong = torch.rand(classes.shape, device=classes.device) < _WRONG_SHARE
    return torch.where(is_wrong & (classes > 0), other, classes)
