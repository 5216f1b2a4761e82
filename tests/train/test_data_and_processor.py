"""What is trained on is, token for token and tile for tile, what the model's processor makes of it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from data.fake import CHATML, byte_tokenizer
from opticnerve.data import Collator, ExampleMaker, Message, Packer, Processor, Sample, SeenImage
from opticnerve.vlm import TEMPLATES, OpticNerveForConditionalGeneration, OpticNerveProcessor, assemble

PICTURES = tuple(torch.arange(3 * rows * 40).reshape(3, rows, 40).to(torch.uint8) for rows in (28, 60))
TURNS = (
    Message("user", "<image>\nWhat do they show? <image>"),
    Message("assistant", "Two flowers."),
    Message("user", "Sure?"),
    Message("assistant", "Yes."),
)


@pytest.fixture(scope="module")
def model(parts: Path) -> tuple[OpticNerveForConditionalGeneration, OpticNerveProcessor]:
    return assemble(encoder=str(parts / "encoder"), llm=str(parts / "llm"), method="mlp", tiling="internvl")


def processor_of(model: tuple[Any, OpticNerveProcessor], template: str, *, adds_bos: bool) -> OpticNerveProcessor:
    tokenizer = byte_tokenizer(adds_bos=adds_bos, eos="</s>")
    return OpticNerveProcessor(model[1].image_processor, tokenizer, chat_template=template)


@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize("template", [*TEMPLATES, "unmarked"])
def test_examples_are_what_the_processor_makes(model: tuple[Any, OpticNerveProcessor], template: str, adds_bos: bool):
    text = TEMPLATES.get(template, CHATML)
    turns = TURNS[:2] if template == "plain" else TURNS
    processor = processor_of(model, text, adds_bos=adds_bos)
    assert isinstance(processor, Processor)
    example = ExampleMaker(processor, max_tokens=10_000).make(Sample("s", turns, PICTURES))
    made = processor.apply_chat_template(
        [{"role": turn.role, "content": turn.content} for turn in turns],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"images": list(PICTURES)},
    )
    assert torch.equal(example["input_ids"], made["input_ids"][0])
    batch = Collator(processor)([example])
    assert torch.equal(batch["image_sizes"], made["image_sizes"])
    for ours, theirs in zip(batch["pixel_values"], made["pixel_values"], strict=True):
        assert torch.equal(ours, theirs)
    end = {"plain": "\n", "vicuna_v1": "</s>"}.get(template, "<|im_end|>")
    learned = processor.tokenizer.decode(example["labels"][example["labels"] != -100])
    answers = "".join(turn.content + end for turn in turns if turn.role == "assistant")
    assert learned.replace(" ", "") == answers.replace(" ", "")


def test_the_model_takes_rows_and_packed_rows_and_finds_the_same_loss(model: tuple[Any, OpticNerveProcessor]):
    network, processor = model
    maker = ExampleMaker(processor, max_tokens=2000)
    samples = [
        Sample("two images", TURNS, PICTURES),
        Sample("one image", (Message("user", "<image>read"), TURNS[1]), PICTURES[:1]),
        Sample("no image", TURNS[2:], ()),
        Sample("another", (Message("user", "code<image>"), TURNS[3]), PICTURES[1:]),
    ]
    examples = [maker.make(sample) for sample in samples]
    longest = max(len(example["input_ids"]) for example in examples)
    rows, packed = Collator(processor)(examples), Packer(processor, max_tokens=2 * longest)(examples)
    assert len(packed["input_ids"]) < len(rows["input_ids"])
    losses = [network(**batch).loss for batch in (rows, packed)]
    assert losses[0].isfinite()
    assert torch.allclose(losses[0], losses[1], atol=1e-5)


def test_features_that_were_made_before_give_the_same_loss(model: tuple[Any, OpticNerveProcessor]):
    network, processor = model
    maker = ExampleMaker(processor, max_tokens=2000)
    sample = Sample("two images", TURNS, PICTURES)
    seen = Collator(processor)([maker.make(sample)])
    features = []
    for index in range(2):
        one = Collator(processor)(
            [maker.make(Sample("s", (Message("user", "<image>"), TURNS[1]), PICTURES[index : index + 1]))]
        )
        features.append(network.image_features(one["pixel_values"], one["image_sizes"]))
    seen_before = tuple(SeenImage(each, *sample.size(index)) for index, each in enumerate(features))
    stored = Collator(processor)([maker.make(Sample("two images", TURNS, seen_before))])
    assert "pixel_values" not in stored
    assert torch.allclose(network(**stored).loss, network(**seen).loss, atol=1e-5)
