"""Generation with a cache: batches of prompts with any number of images, beams, every door for images, streaming."""

from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
import transformers as hf

from vlm import tiny

TEXTS = ["one <image> here", "no image at all", "two: <image> and <image>", "<image>"]
SIZES = [(100, 200), (64, 64), (40, 160), (150, 90)]


def answers(model: Any, inputs: dict[str, Any], **options: Any) -> torch.Tensor:
    given = {"max_new_tokens": 6, "do_sample": False, **options}
    return model.generate(**inputs, **given)[:, inputs["input_ids"].shape[1] :]


@pytest.fixture(scope="module")
def talker(llama: Path) -> tuple[Any, Any]:
    return tiny.small(llama, **tiny.ANYRES)


@pytest.fixture
def inputs(talker: tuple[Any, Any]) -> dict[str, Any]:
    return tiny.batch(talker[1], TEXTS, tiny.images(*SIZES))


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}])
def test_prompts_of_a_batch_are_answered_as_they_are_alone(talker: Any, inputs: Any, options: dict[str, Any]) -> None:
    model, processor = talker
    together = answers(model, inputs, **options)
    pictures = tiny.images(*SIZES)
    for row, (text, own) in enumerate(zip(TEXTS, ([0], [], [1, 2], [3]), strict=True)):
        alone = tiny.batch(processor, [text], [pictures[index] for index in own])
        assert torch.equal(answers(model, alone, **options)[0], together[row]), text


def test_the_cache_changes_nothing(talker: Any, inputs: Any) -> None:
    model, _ = talker
    assert torch.equal(answers(model, inputs), answers(model, inputs, use_cache=False))


def test_answers_depend_on_the_images(talker: Any, inputs: Any) -> None:
    model, processor = talker
    other = tiny.batch(processor, TEXTS, [255 - picture for picture in tiny.images(*SIZES)])
    scores = [answers_scores(model, given) for given in (inputs, other)]
    assert not torch.allclose(scores[0][[0, 2, 3]], scores[1][[0, 2, 3]], atol=1e-4)
    torch.testing.assert_close(scores[0][1], scores[1][1], rtol=0, atol=1e-4)


def answers_scores(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    return model.generate(
        **inputs, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
    ).logits[0]


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}])
def test_features_and_visual_tokens_of_before_give_the_same_answers(
    talker: Any, inputs: Any, options: dict[str, Any]
) -> None:
    model, _ = talker
    pixels, sizes = inputs["pixel_values"], inputs["image_sizes"]
    text = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    features = model.image_features(pixels, sizes)
    doors: list[dict[str, Any]] = [
        {"pixel_values": pixels, "image_sizes": sizes},
        {"image_features": features, "image_sizes": sizes},
        {"mm_encoder_outputs": {"image": model.get_image_features(pixels, sizes)}},
    ]
    given: list[torch.Tensor] = []
    for door in doors:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            given.append(answers(model, {**text, **door}, **options))
    assert torch.equal(given[0], given[1])
    assert torch.equal(given[0], given[2])


def test_the_placeholder_is_never_said(talker: Any, inputs: Any) -> None:
    model, processor = talker
    head = model.get_output_embeddings().weight
    kept = head.detach().clone()
    with torch.no_grad():
        head[:] = 0
        head[processor.image_token_id] = 100
    said = answers(model, inputs)
    with torch.no_grad():
        head[:] = kept
    assert processor.image_token_id not in said


def test_penalties_on_repetition_know_the_placeholder(talker: Any, inputs: Any) -> None:
    model, _ = talker
    assert answers(model, inputs, repetition_penalty=1.3, no_repeat_ngram_size=2).shape == (4, 6)


def test_answers_stream(talker: Any) -> None:
    model, processor = talker
    inputs = tiny.batch(processor, TEXTS[:1], tiny.images(*SIZES[:1]))
    streamer = hf.TextIteratorStreamer(processor.tokenizer, skip_prompt=True)
    options = {**inputs, "max_new_tokens": 6, "do_sample": False, "streamer": streamer}
    thread = Thread(target=model.generate, kwargs=options)
    thread.start()
    streamed = "".join(streamer)
    thread.join()
    assert streamed == processor.decode(answers(model, inputs)[0])


def test_answers_end_where_the_tokenizer_says(talker: Any, inputs: Any) -> None:
    model, processor = talker
    first = answers(model, inputs, max_new_tokens=1)[0, 0].item()
    ended = answers(model, {**tiny.batch(processor, TEXTS[:1], tiny.images(*SIZES[:1]))}, eos_token_id=first)
    assert ended.tolist() == [[first]]
    assert model.generation_config.eos_token_id == [processor.tokenizer.eos_token_id]
    assert model.generation_config.pad_token_id == processor.tokenizer.pad_token_id


def test_a_conversation_goes_on_with_its_cache(talker: Any) -> None:
    model, processor = talker
    first = tiny.batch(processor, ["<image> a"], tiny.images((64, 64)))
    out = model.generate(**first, max_new_tokens=3, do_sample=False, return_dict_in_generate=True)
    more = processor.tokenizer(" b", return_tensors="pt", add_special_tokens=False)["input_ids"]
    ids = torch.cat([out.sequences, more], dim=1)
    mask = torch.ones_like(ids)
    again = {**first, "input_ids": ids, "attention_mask": mask}
    wanted = answers(model, again)
    given = answers(model, {"input_ids": ids, "attention_mask": mask}, past_key_values=out.past_key_values)
    assert torch.equal(given, wanted)


def test_the_pipeline_answers(talker: Any, tmp_path: Path) -> None:
    from PIL import Image

    model, processor = talker
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    pipe: Any = hf.pipeline("image-text-to-text", model=str(tmp_path))
    picture = Image.fromarray(tiny.images((100, 200))[0].permute(1, 2, 0).numpy())
    chat = [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "What?"}]}]
    (said,) = pipe(text=chat, max_new_tokens=4, do_sample=False, return_full_text=False)
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    alone = tiny.batch(processor, [prompt], tiny.images((100, 200)))
    assert said["generated_text"] == processor.decode(
        answers(model, alone, max_new_tokens=4)[0], skip_special_tokens=True
    )
