"""One question: the answer as it comes, what it cost, and the words that are not known."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from opticnerve.evaluate import answer, unknown_words
from opticnerve.evaluate.answer import prepare

QUESTION = "What color is the circle ?"


@pytest.fixture
def image() -> Tensor:
    return torch.randint(0, 256, (3, 120, 200), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_an_answer_is_what_generate_says(talker: tuple[Any, Any], image: Tensor):
    model, processor = talker
    given = answer(model, processor, [image], QUESTION, max_new_tokens=5)
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": f"<image>\n{QUESTION}"}], tokenize=False, add_generation_prompt=True
    )
    inputs = processor(text=prompt, images=[image], return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    start = inputs["input_ids"].shape[1]
    assert given.text == processor.tokenizer.decode(out[0, start:], skip_special_tokens=True).strip()
    assert given.num_prompt_tokens == start
    assert given.num_visual_tokens == processor.num_image_tokens(120, 200)
    assert 0 < given.first_token_ms <= given.total_ms


def test_the_answer_comes_in_pieces(talker: tuple[Any, Any], image: Tensor):
    pieces: list[str] = []
    given = answer(*talker, [image], QUESTION, max_new_tokens=8, on_text=pieces.append)
    assert "".join(pieces).strip() == given.text
    assert len(pieces) > 1


def test_a_question_may_have_several_images_or_none(talker: tuple[Any, Any], image: Tensor):
    one = answer(*talker, [image], QUESTION, max_new_tokens=1).num_visual_tokens
    assert answer(*talker, [image, image], QUESTION, max_new_tokens=1).num_visual_tokens == 2 * one
    assert answer(*talker, [], QUESTION, max_new_tokens=1).num_visual_tokens == 0


def test_prompts_of_one_image_are_padded_on_the_left(talker: tuple[Any, Any], image: Tensor):
    inputs = prepare(*talker, [image], ["What ?", QUESTION])
    assert inputs["attention_mask"][0, 0] == 0
    assert inputs["attention_mask"][:, -1].tolist() == [1, 1]


def test_words_that_are_not_known_are_named_once(talker: tuple[Any, Any]):
    _, processor = talker
    assert unknown_words(processor.tokenizer, "what zebra is the elephant, zebra?") == ("zebra", "elephant")
    assert unknown_words(processor.tokenizer, "what color is the circle?") == ()


def test_a_tokenizer_without_an_unknown_token_knows_everything(talker: tuple[Any, Any]):
    words = talker[1].tokenizer.backend_tokenizer
    assert unknown_words(PreTrainedTokenizerFast(tokenizer_object=words), "zebra") == ()
