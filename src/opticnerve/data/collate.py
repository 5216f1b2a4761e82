"""From examples to the batch that the model takes: one row a sample, padded on the right."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from opticnerve.data.examples import IGNORED, Example
from opticnerve.data.processors import Processor
from opticnerve.errors import DataError


class Collator:
    """Puts each example into a row of its own."""

    def __init__(self, processor: Processor) -> None:
        """Take over what pads.

        Args:
            processor: the model's.
        """
        self.processor = processor
        self.pad_id = pad_id(processor)

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Make a batch.

        Args:
            examples: at least one.

        Returns:
            What the model's `forward` takes: `input_ids`, `attention_mask`, `labels` and, where there are images,
            `image_sizes` and one of `pixel_values`, `image_features` and `mm_encoder_outputs`. Labels that the samples
            bring along are in `labels_extra`: a list of tensors under each name that all of them have, which is for
            the objective.
        """
        ids = [example["input_ids"] for example in examples]
        return {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_id),
            "attention_mask": pad_sequence([torch.ones_like(each) for each in ids], batch_first=True),
            "labels": pad_sequence([each["labels"] for each in examples], batch_first=True, padding_value=IGNORED),
            **collate_images(examples, self.processor),
            **collate_extra(examples),
        }


def pad_id(processor: Processor) -> int:
    """Find the id that fills rows up; no loss and no attention sees it.

    Args:
        processor: the model's.
    """
    tokenizer = processor.tokenizer
    known = [each for each in (tokenizer.pad_token_id, tokenizer.eos_token_id) if each is not None]
    return int(known[0]) if known else 0


def collate_images(examples: Sequence[Example], processor: Processor) -> dict[str, Any]:
    """Put the images of all examples one after another.

    Args:
        examples: in the order of their rows.
        processor: the model's.

    Raises:
        DataError: the examples have their images in different ways.
    """
    sizes = [size for example in examples for size in example["image_sizes"]]
    if not sizes:
        return {}
    views = [each for example in examples for each in example.get("views", [])]
    features = [each for example in examples for each in example.get("image_features", [])]
    tokens = [each for example in examples for each in example.get("image_tokens", [])]
    if sorted(map(len, (views, features, tokens))) != [0, 0, len(sizes)]:
        raise DataError(
            f"a batch of {len(sizes)} images has views of {len(views)}, features of {len(features)} and visual tokens "
            f"of {len(tokens)}: make all of its examples in the same way"
        )
    if views:
        return processor.collate_views(list(zip(views, sizes, strict=True)))
    image_sizes = torch.tensor(sizes, dtype=torch.long)
    if features:
        return {"image_features": torch.cat(features), "image_sizes": image_sizes}
    # One copy of all: what was stored may be a view of a whole file.
    made = torch.split(torch.cat(tokens), [len(each) for each in tokens])
    return {"mm_encoder_outputs": {"image": list(made)}, "image_sizes": image_sizes}


def collate_extra(examples: Sequence[Example]) -> dict[str, dict[str, list[Tensor]]]:
    """List the labels that all samples bring along, under their names.

    Args:
        examples: in the order of their rows.
    """
    names = set[str].intersection(*(set(example["labels_extra"]) for example in examples))
    extra = {name: [example["labels_extra"][name] for example in examples] for name in sorted(names)}
    return {"labels_extra": extra} if extra else {}
