"""Rows are padded on the right; packed samples do not see each other and lose nothing."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from data.fake import FakeProcessor
from opticnerve.data import Collator, Example, Packer, first_fit
from opticnerve.errors import DataError

SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def example(number: int, size: int, *, images: int = 0, **fields: Any) -> Example:
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(1, 50, (size,), generator=generator)
    labels = torch.where(torch.rand(size, generator=generator) < 0.5, ids, -100)
    labels[0] = -100
    sizes = [(8 * number, 16)] * images
    views = [(torch.full((1, 3, 4, 4), number, dtype=torch.uint8),)] * images
    made: Example = {"id": str(number), "input_ids": ids, "labels": labels, "image_sizes": sizes, "labels_extra": {}}
    if images:
        made["views"] = list(views)
    return {**made, **fields}


def tiny(family: str, attention: str) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind, config = {
            "llama": (LlamaForCausalLM, LlamaConfig),
            "qwen2": (Qwen2ForCausalLM, Qwen2Config),
        }[family]
        return kind(config(**SIZES, attn_implementation=attention)).eval()


def test_rows_are_padded_on_the_right():
    batch = Collator(FakeProcessor())([example(1, 5), example(2, 3)])
    pad = FakeProcessor().tokenizer.pad_token_id
    assert batch.keys() == {"input_ids", "attention_mask", "labels"}
    assert batch["input_ids"][1].tolist() == [*example(2, 3)["input_ids"].tolist(), pad, pad]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert batch["labels"][1].tolist() == [*example(2, 3)["labels"].tolist(), -100, -100]


@pytest.mark.parametrize(("tokens", "pad"), [({"pad_token": None}, "<|im_end|>"), ({}, "<pad>")])
def test_what_pads_is_the_tokenizers_choice_or_its_end(tokens: dict[str, None], pad: str):
    processor = FakeProcessor()
    for name, token in tokens.items():
        setattr(processor.tokenizer, name, token)
    assert Collator(processor).pad_id == processor.tokenizer.convert_tokens_to_ids(pad)


def test_images_stand_in_the_order_of_the_rows():
    batch = Collator(FakeProcessor())([example(1, 5, images=2), example(2, 3), example(3, 4, images=1)])
    assert [int(view[0, 0, 0, 0]) for view in batch["pixel_values"]] == [1, 1, 3]
    assert batch["image_sizes"].tolist() == [[8, 16], [8, 16], [24, 16]]


@pytest.mark.parametrize("kind", ["rows", "packed"])
def test_features_take_the_place_of_views(kind: str):
    collate = Collator(FakeProcessor()) if kind == "rows" else Packer(FakeProcessor(), max_tokens=100)
    made = []
    for number in (1, 2):
        one = example(number, 4, images=1, image_features=[torch.full((3, 2), float(number))])
        del one["views"]
        made.append(one)
    batch = collate(made)
    assert batch["image_features"].tolist() == [[1.0, 1.0]] * 3 + [[2.0, 2.0]] * 3
    assert batch["image_sizes"].tolist() == [[8, 16], [16, 16]]
    assert "pixel_values" not in batch
    with pytest.raises(
        DataError, match="a batch of 2 images has views of 1, features of 1 and visual tokens of 0: make all of its"
    ):
        collate([made[0], example(2, 4, images=1)])


@pytest.mark.parametrize("collate", [Collator(FakeProcessor()), Packer(FakeProcessor(), max_tokens=64)])
def test_visual_tokens_stay_image_by_image(collate: Collator | Packer):
    whole = torch.arange(40.0).view(20, 2)  # of a file with many images
    made = []
    for number in (1, 3):
        one = example(number, 4, images=1, image_tokens=[whole[number : 2 * number]])
        del one["views"]
        made.append(one)
    batch = collate(made)
    first, second = batch["mm_encoder_outputs"]["image"]
    assert torch.equal(first, whole[1:2])
    assert torch.equal(second, whole[3:6])
    assert first.untyped_storage().nbytes() == 4 * 2 * 4  # and not the whole file
    assert len(batch["image_sizes"]) == 2
    assert not {"pixel_values", "image_features"} & set(batch)


def test_an_example_without_its_images_is_refused():
    one = example(1, 4, images=2)
    one["views"].pop()
    with pytest.raises(DataError, match="a batch of 2 images has views of 1, features of 0 and"):
        Collator(FakeProcessor())([one])


def test_extra_labels_are_listed_where_all_samples_have_them():
    one = example(1, 4, labels_extra={"a": torch.tensor([1]), "b": torch.tensor([2])})
    two = example(2, 3, labels_extra={"a": torch.tensor([3, 4])})
    batch = Collator(FakeProcessor())([one, two])
    assert {name: [each.tolist() for each in tensors] for name, tensors in batch["labels_extra"].items()} == {
        "a": [[1], [3, 4]]
    }
    assert "labels_extra" not in Collator(FakeProcessor())([example(1, 4)])


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40), capacity=st.integers(60, 200))
def test_first_fit_puts_each_example_into_one_row_and_leaves_few_rows(lengths: list[int], capacity: int):
    rows = first_fit(lengths, capacity=capacity)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= capacity for row in rows)
    assert rows == first_fit(lengths, capacity=capacity)
    assert all(row == sorted(row) for row in rows)
    filled = sorted(sum(lengths[index] for index in row) for row in rows)
    assert all(one + two > capacity for one, two in pairwise(filled))  # no two rows fit into one


def test_what_fits_no_row_is_refused():
    with pytest.raises(DataError, match="an example of 61 tokens does not fit into a row of 60"):
        first_fit([5, 61], capacity=60)


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_packing_loses_and_repeats_nothing(sizes: list[int]):
    examples = [example(number, size, images=number % 3) for number, size in enumerate(sizes, start=1)]
    batch = Packer(FakeProcessor(), max_tokens=40)(examples)
    starts = batch["position_ids"] == 0
    found = []
    for row, (ids, labels) in enumerate(zip(batch["input_ids"], batch["labels"], strict=True)):
        places = [*starts[row].nonzero().flatten().tolist(), len(ids)]
        found += [(ids[a:b].tolist(), labels[a:b].tolist()) for a, b in pairwise(places)]
    pad = FakeProcessor().tokenizer.pad_token_id
    filled = [each for each in found if each[0] != [pad] * len(each[0])]
    wanted = [(each["input_ids"].tolist(), each["labels"].tolist()) for each in examples]
    assert sorted(filled) == sorted(wanted)
    numbers = [int(view[0, 0, 0, 0]) for view in batch.get("pixel_values", [])]
    in_rows = [wanted.index(each) + 1 for each in filled]
    assert numbers == [number for number in in_rows for _ in range(number % 3)]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_packed_samples_do_not_see_each_other(family: str, attention: str):
    model = tiny(family, attention)
    examples = [example(number, size) for number, size in enumerate((7, 20, 9, 12, 5, 3), start=1)]
    batch = Packer(FakeProcessor(), max_tokens=25)(examples)
    rows = first_fit([len(each["input_ids"]) for each in examples], capacity=25)
    assert rows == [[0], [1, 4], [2, 3, 5]]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        packed = model(**inputs).logits
        for row, members in enumerate(rows):
            start = 0
            for member in members:
                ids = examples[member]["input_ids"]
                alone = model(input_ids=ids[None]).logits[0]
                assert torch.allclose(packed[row, start : start + len(ids)], alone, atol=1e-5, rtol=0)
                start += len(ids)
        # With a cache transformers looks for no packed samples: that is what `use_cache` is off for.
        leaky = model(**{**inputs, "use_cache": True}).logits
    assert not torch.allclose(packed, leaky, atol=1e-3)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_packed_training_has_the_loss_and_the_gradients_of_padded_training(family: str):
    examples = [example(number, size) for number, size in enumerate((7, 20, 9, 12, 5, 3), start=1)]
    losses, gradients = [], []
    for collate in (Collator(FakeProcessor()), Packer(FakeProcessor(), max_tokens=25)):
        model = tiny(family, "sdpa").train()
        loss = model(**collate(examples)).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert torch.allclose(*losses, atol=1e-6)
    for padded, packed in zip(*gradients, strict=True):
        assert torch.allclose(padded, packed, atol=1e-6)
