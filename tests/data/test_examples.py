"""The loss falls on the answers and on nothing else, and what cannot be learned from is a bad sample."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from data.fake import CHATML, MARKED, SPECIAL, FakeProcessor, byte_tokenizer, decoded, piece_tokenizer
from opticnerve.data import Example, ExampleMaker, ImageSource, Message, Processor, Sample, SeenImage, SeenTokens
from opticnerve.errors import BadSampleError, ImageError, SpecError

PICTURE = torch.zeros(3, 16, 24, dtype=torch.uint8)
STRIPS_THOUGHTS = CHATML.replace(
    "message.content",
    "(message.content if loop.last or message.role != 'assistant' else message.content.split('</think>')[-1])",
)
ADDS_TO_THE_LAST = CHATML.replace(
    "message.content +", "('<think></think>' if loop.last and message.role == 'assistant' else '') + message.content +"
)


def sample(*contents: str, images: tuple[ImageSource, ...] = (), system: str = "") -> Sample:
    roles = ("user", "assistant") * len(contents)
    turns = tuple(Message(role, content) for role, content in zip(roles, contents, strict=False))
    return Sample("s", (*([Message("system", system)] if system else []), *turns), images)


def learned(processor: FakeProcessor, example: Example) -> list[str]:
    """The texts of the stretches that carry a loss."""
    is_answer = (example["labels"] != -100).tolist()
    stretches: list[list[int]] = []
    for place, now in enumerate(is_answer):
        if now and not (place and is_answer[place - 1]):
            stretches.append([])
        if now:
            stretches[-1].append(int(example["labels"][place]))
    return [decoded(processor, torch.tensor(stretch)) for stretch in stretches]


def make(processor: FakeProcessor, one: Sample, *, max_tokens: int = 500) -> Example:
    return ExampleMaker(processor, max_tokens=max_tokens).make(one)


def reason(one: Sample, processor: FakeProcessor | None = None, *, max_tokens: int = 500) -> str:
    with pytest.raises(BadSampleError) as caught:
        make(processor or FakeProcessor(), one, max_tokens=max_tokens)
    assert caught.value.sample == "s"
    return caught.value.reason


def test_the_fake_is_a_processor():
    assert isinstance(FakeProcessor(), Processor)


def test_all_answers_are_learned_with_the_token_that_ends_them():
    processor = FakeProcessor()
    example = make(processor, sample("What?", "A cat.", "Sure?", " Yes ", system="Be brief."))
    assert learned(processor, example) == ["A cat.<|im_end|>", " Yes <|im_end|>"]
    assert decoded(processor, example["input_ids"]).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>u")


def test_the_marks_of_a_template_say_where_the_answers_are():
    processor = FakeProcessor(MARKED)
    example = make(processor, sample("What?", "A cat.", "Sure?", "Yes"))
    text = "<s>USER: What? ASSISTANT: A cat.<|im_end|> USER: Sure? ASSISTANT: Yes<|im_end|> "
    assert decoded(processor, example["input_ids"]) == text
    assert learned(processor, example) == ["A cat.<|im_end|>", "Yes<|im_end|>"]


def test_the_token_that_ends_an_answer_is_learned_even_if_it_is_not_marked():
    template = MARKED.replace("{{ eos_token }}{% endgeneration %}", "{% endgeneration %}{{ eos_token }}")
    assert template != MARKED
    processor = FakeProcessor(template)
    assert learned(processor, make(processor, sample("q", "a", "q", "b"))) == ["a<|im_end|>", "b<|im_end|>"]


def test_a_template_without_special_tokens_ends_answers_with_its_own_separator():
    template = "{% for m in messages %}{% if m.role == 'user' %}<image>{% else %}{% generation %}{{ m.content + '\n' }}"
    template += "{% endgeneration %}{% endif %}{% endfor %}"
    processor = FakeProcessor(template)
    example = make(processor, sample("<image>\nDescribe it.", "A cat", images=(PICTURE,)))
    assert decoded(processor, example["input_ids"]) == "<image>" * 6 + "A cat\n"
    assert learned(processor, example) == ["A cat\n"]


@pytest.mark.parametrize("template", [CHATML, MARKED])
def test_an_image_mark_becomes_as_many_tokens_as_the_image_has(template: str):
    processor = FakeProcessor(template)
    images = (PICTURE, PICTURE[:, :8])
    example = make(processor, sample("<image>\nA<image>?", "no", "b", "c", images=images))
    is_image = example["input_ids"] == processor.image_token_id
    assert decoded(processor, example["input_ids"]).count("<image>") == int(is_image.sum()) == 6 + 3
    assert "<image>" * 6 + "\nA" + "<image>" * 3 + "?" in decoded(processor, example["input_ids"])
    assert (example["labels"][is_image] == -100).all()
    assert learned(processor, example) == ["no<|im_end|>", "c<|im_end|>"]
    assert example["image_sizes"] == [(16, 24), (8, 24)]
    assert [view.shape for views in example["views"] for view in views] == [(1, 3, 2, 3), (1, 3, 1, 3)]


def test_an_image_within_an_answer_is_not_learned():
    processor = FakeProcessor()
    example = make(processor, sample("draw", "see <image> here", images=(PICTURE,)))
    assert learned(processor, example) == ["see ", " here<|im_end|>"]


def test_the_first_token_has_no_loss_as_nothing_comes_before_it():
    bare = "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
    processor = FakeProcessor(bare + "{% endif %}{% endfor %}")
    assert learned(processor, make(processor, sample("q", "cat"))) == ["at"]
    assert learned(processor, make(processor, sample("q", "cat "))) == ["at "]  # the space at its end belongs to it
    assert reason(sample("q", "c"), processor) == "no token of the answers is left to learn"


@given(
    contents=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="<>|"), min_size=1), min_size=2, max_size=8
    ),
    is_marked=st.booleans(),
)
def test_labels_cover_exactly_the_answers_whatever_they_say(contents: list[str], is_marked: bool):
    pairs = len(contents) // 2 * 2
    contents = [f"{content}." for content in contents[:pairs]]  # an answer of spaces only is a bad sample
    processor = FakeProcessor(MARKED if is_marked else CHATML)
    example = ExampleMaker(processor, max_tokens=10_000).make(sample(*contents))
    assert learned(processor, example) == [f"{answer}<|im_end|>" for answer in contents[1::2]]
    has_loss = example["labels"] != -100
    assert torch.equal(example["labels"][has_loss], example["input_ids"][has_loss])


def test_answers_are_found_where_the_tokenizer_drops_spaces():
    words = {
        word: index for index, word in enumerate([*SPECIAL, "user", "assistant", "a", "cat", "what", "is", "[UNK]"])
    }
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", additional_special_tokens=list(SPECIAL), unk_token="[UNK]"
    )
    processor = FakeProcessor(CHATML, fast)
    example = make(processor, sample("what is", "a cat", "is", "cat"))
    learned_ids = example["labels"][example["labels"] != -100]
    assert tokenizer.decode(learned_ids.tolist(), skip_special_tokens=False) == "a cat <|im_end|> cat <|im_end|>"


@pytest.mark.parametrize("is_legacy", [True, False])
def test_answers_are_found_where_spaces_belong_to_words_and_letters_are_spelled_in_bytes(is_legacy: bool):
    processor = FakeProcessor(
        MARKED.replace("{{- 'ASSISTANT: ' }}", "{{- 'ASSISTANT:' }}"), piece_tokenizer(is_legacy=is_legacy)
    )
    example = make(processor, sample("<image>\nWhat?", " Two \u00f6\n", "Sure?", " Two", images=(PICTURE,)))
    has_loss = example["labels"] != -100
    pieces = processor.tokenizer.convert_ids_to_tokens(example["labels"][has_loss].tolist())
    assert pieces == ["\u2581Two", "\u2581", "<0xC3>", "<0xB6>", "\n", "</s>", "\u2581Two", "</s>"]
    assert int((example["input_ids"] == processor.image_token_id).sum()) == 6


@pytest.mark.parametrize(("template", "adds_bos"), [(MARKED, True), (MARKED, False), (CHATML, True)])
def test_there_is_one_bos_where_the_template_or_the_tokenizer_wants_one(template: str, adds_bos: bool):
    processor = FakeProcessor(template, byte_tokenizer(adds_bos=adds_bos))
    example = make(processor, sample("q", "a"))
    assert decoded(processor, example["input_ids"]).count("<s>") == 1
    assert int(example["input_ids"][0]) == processor.tokenizer.bos_token_id
    assert learned(processor, example) == ["a<|im_end|>"]


def test_there_is_no_bos_where_nothing_wants_one():
    processor = FakeProcessor(CHATML)
    assert "<s>" not in decoded(processor, make(processor, sample("q", "a"))["input_ids"])


def test_a_template_that_rewrites_earlier_turns_is_refused_for_several_turns_only():
    processor = FakeProcessor(ADDS_TO_THE_LAST)
    maker = ExampleMaker(processor, max_tokens=100)
    assert learned(processor, maker.make(sample("q", "a"))) == ["<think></think>a<|im_end|>"]
    with pytest.raises(SpecError, match='earlier turns differently once later ones follow.*such as "chatml"'):
        maker.make(sample("q", "a", "q", "b"))


def test_a_thought_that_the_template_strips_is_a_bad_sample():
    thought = sample("q", "<think>hm</think>a", "q", "b")
    given = "the chat template writes its turns differently: '<think>hm</think>a'"
    assert reason(thought, FakeProcessor(STRIPS_THOUGHTS)) == given
    processor = FakeProcessor(STRIPS_THOUGHTS)
    assert learned(processor, make(processor, sample("q", "a", "q", "b"))) == ["a<|im_end|>", "b<|im_end|>"]
    marked = MARKED.replace("message.content }}{{ eos", "message.content.split('</think>')[-1] }}{{ eos")
    assert marked != MARKED
    assert reason(thought, FakeProcessor(marked)) == "the chat template changes the answer '<think>hm</think>a'"


def test_a_template_that_trims_is_fine():
    processor = FakeProcessor(CHATML.replace("message.content", "message.content | trim"))
    assert learned(processor, make(processor, sample("q", " a \n", "q", "b"))) == ["a<|im_end|>", "b<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "the processor has no chat template"),
        (CHATML.replace("if add_generation_prompt", "if false"), "ignores add_generation_prompt.*chatml"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "does not show where the answer begins"),
        ("{{ raise_exception('not today') }}", "cannot write a conversation: not today"),
    ],
)
def test_a_template_that_cannot_be_split_is_refused_at_once(template: str, message: str):
    with pytest.raises(SpecError, match=message):
        ExampleMaker(FakeProcessor(template), max_tokens=100)


def test_a_slow_tokenizer_is_refused():
    processor = FakeProcessor()
    processor.tokenizer = SimpleNamespace(convert_tokens_to_ids=lambda token: 0)
    with pytest.raises(SpecError, match="SimpleNamespace does not say which characters.*fast tokenizer"):
        ExampleMaker(processor, max_tokens=100)


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([], "user and assistant do not take turns: no messages"),
        ([Message("user", "q")], "user and assistant do not take turns: user"),
        (
            [Message("user", "q"), Message("user", "q"), Message("assistant", "a")],
            "user and assistant do not take turns: user, user, assistant",
        ),
        (
            [Message("user", "q"), Message("system", "s"), Message("assistant", "a")],
            "user and assistant do not take turns: user, system, assistant",
        ),
        ([Message("user", "q"), Message("assistant", " \n")], "answer 1 is empty"),
        ([Message("user", "<image>"), Message("assistant", "a")], '1 times "<image>" in the messages, but 0 images'),
    ],
)
def test_a_conversation_that_cannot_be_learned_from_is_a_bad_sample(messages: list[Message], why: str):
    assert reason(Sample("s", tuple(messages), ())) == why


def test_an_image_without_a_mark_is_a_bad_sample():
    assert reason(sample("q", "a", images=(PICTURE,))) == '0 times "<image>" in the messages, but 1 images'


def test_a_template_that_drops_an_image_makes_a_bad_sample():
    template = CHATML.replace("message.content", "message.content.replace('<image>', '')")
    why = "the chat template leaves 0 of 1 image marks in its text"
    assert reason(sample("<image>q", "a", images=(PICTURE,)), FakeProcessor(template)) == why


def test_a_template_that_refuses_a_role_makes_a_bad_sample():
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + CHATML
    why = "the chat template refuses it: no system here"
    assert reason(sample("q", "a", system="s"), FakeProcessor(template)) == why


def test_nothing_is_cut_off():
    processor = FakeProcessor()
    one = sample("<image>q", "a", images=(PICTURE,))
    size = len(make(processor, one)["input_ids"])
    assert len(make(processor, one, max_tokens=size)["input_ids"]) == size
    why = f"{size} tokens, 6 of them visual, are more than the limit of {size - 1}"
    made = processor.views_made
    assert reason(one, processor, max_tokens=size - 1) == why
    assert processor.views_made == made  # it is refused before its images are cut


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"hello", "not an image in a known format"),
        (b"\x89PNG\r\n\x1a\n123", "begins like a PNG file, but its header cannot be read"),
    ],
)
@pytest.mark.parametrize("is_file", [True, False])
def test_an_image_that_cannot_be_read_is_a_bad_sample(tmp_path: Path, content: bytes, why: str, is_file: bool):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    given = reason(sample("<image>q", "a", images=(path if is_file else content,)))
    assert given.startswith("image 1: ")
    assert why in given


def test_an_opened_image_whose_file_is_cut_off_is_a_bad_sample(tmp_path: Path):
    path = tmp_path / "noise.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with Image.open(path) as opened:
        given = reason(sample("<image>q", "a", images=(opened,)))
    assert given.startswith("image 1: an opened PNG: truncated or damaged: ")


def test_a_missing_image_is_a_bad_sample(tmp_path: Path):
    given = reason(sample("<image><image>q", "a", images=(PICTURE, tmp_path / "gone.jpg")))
    assert given == f"image 2: {tmp_path / 'gone.jpg'}: no such file"


def test_an_image_that_does_not_fit_the_model_is_a_bad_sample():
    strip = torch.zeros(3, 1, 200, dtype=torch.uint8)
    assert reason(sample("<image>q", "a", images=(strip,))) == "an image of 1 x 200 px is too wide"


def test_a_tensor_that_is_not_an_image_is_a_bad_sample():
    gray = torch.zeros(1, 8, 8, dtype=torch.uint8)
    with pytest.raises(BadSampleError, match="image 1: a tensor of torch.uint8 and shape .1, 8, 8. is not an image"):
        ExampleMaker(FakeProcessor(), max_tokens=100).make(sample("<image>q", "a", images=(gray,)))


def test_all_kinds_of_image_sources_give_the_same_pixels(tmp_path: Path):
    picture = Image.effect_noise((24, 16), 50).convert("RGB")
    path = tmp_path / "noise.png"
    picture.save(path)
    pixels = Sample("s", (), (path,)).decode(0)
    kept = Sample("s", (), (path, path.read_bytes(), picture, pixels))
    assert all(torch.equal(kept.decode(index), pixels) for index in range(4))
    assert {kept.size(index) for index in range(4)} == {(16, 24)}


def test_an_example_of_features_has_them_in_place_of_views():
    processor = FakeProcessor()
    features = [torch.ones(4, 2, dtype=torch.float16)]
    one = sample("<image>q", "a", images=(PICTURE,))
    maker = ExampleMaker(processor, max_tokens=500)
    seen = tuple(SeenImage(each, *one.size(index)) for index, each in enumerate(features))
    example = maker.make(dataclasses.replace(one, images=seen))
    with pytest.raises(ImageError, match="image 1 is features, without pixels"):
        dataclasses.replace(one, images=seen).decode(0)
    assert torch.equal(example["input_ids"], maker.make(one)["input_ids"])
    assert "views" not in example
    assert example["image_features"] == features
    assert processor.views_made == 1


def test_an_example_of_visual_tokens_has_them_in_place_of_views():
    processor = FakeProcessor()
    one = sample("<image>q", "a", images=(PICTURE,))
    maker = ExampleMaker(processor, max_tokens=500)
    plain = maker.make(one)
    seen = dataclasses.replace(one, images=(SeenTokens(torch.ones(6, 2), *one.size(0)),))
    example = maker.make(seen)
    with pytest.raises(ImageError, match="image 1 is visual tokens, without pixels"):
        seen.decode(0)
    assert torch.equal(example["input_ids"], plain["input_ids"])
    assert not {"views", "image_features"} & set(example)
    assert [each.shape for each in example["image_tokens"]] == [(6, 2)]
    assert processor.views_made == 1


def test_visual_tokens_of_another_number_are_a_bad_sample():
    few = SeenTokens(torch.ones(4, 2), 16, 24)
    said = "image 1 has 4 visual tokens that were made before, and this model makes 6 of it"
    assert reason(sample("<image>q", "a", images=(few,))) == said


def test_labels_of_the_sample_are_handed_on():
    one = dataclasses.replace(sample("q", "a"), labels={"symbols": torch.arange(3)})
    assert make(FakeProcessor(), one)["labels_extra"]["symbols"].tolist() == [0, 1, 2]


def test_tokens_are_counted_from_headers_alone():
    processor = FakeProcessor()
    one = sample("<image>\nWhat is it?", "A cat.", images=(PICTURE,))
    maker = ExampleMaker(processor, max_tokens=500)
    assert 0 <= len(maker.make(one)["input_ids"]) - maker.count_tokens(one) < 40  # what the template adds
    assert maker.count_tokens(one) - maker.count_tokens(sample("\nWhat is it?", "A cat.")) == 6
