"""Many questions: the same answers as one by one, grouped by kind."""

from typing import Any

import pytest
import torch

from opticnerve.data import IMAGE, Message, Sample
from opticnerve.data.reading import ReadingSource
from opticnerve.errors import SpecError
from opticnerve.evaluate import Asked, AskedImage, answer, evaluate, reading_questions, sample_questions

PIXELS = torch.randint(0, 256, (3, 90, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
QUESTIONS = ("What color is the circle ?", "where is the red circle ?", "read the code")


def image(name: str, *, answers: tuple[str, ...] = ("", "", "")) -> AskedImage:
    kinds = ("color", "where", "color")
    asked = zip(kinds, QUESTIONS, answers, strict=True)
    questions = tuple(Asked(kind=kind, text=text, answer=wanted) for kind, text, wanted in asked)
    return AskedImage(name=name, images=(PIXELS,), questions=questions)


def test_questions_of_an_image_share_the_encoder_and_get_the_answers_they_would_get_alone(
    talker: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
):
    calls: list[int] = []
    seen: list[Any] = []
    model = talker[0]
    whole, speak = type(model).image_features, type(model).generate

    def counted(self: Any, pixel_values: Any, image_sizes: Any) -> Any:
        calls.append(len(image_sizes))
        return whole(self, pixel_values, image_sizes)

    def spoken(self: Any, **inputs: Any) -> Any:
        seen.append(inputs["image_features"])
        return speak(self, **inputs)

    monkeypatch.setattr(type(model), "image_features", counted)
    monkeypatch.setattr(type(model), "generate", spoken)
    found = evaluate(*talker, [image("a")], num_timed=0, max_new_tokens=4)
    monkeypatch.undo()
    assert calls == [1]
    with torch.inference_mode():
        inputs = talker[1](text="<image>", images=[PIXELS], return_tensors="pt")
        features = model.image_features(inputs["pixel_values"], inputs["image_sizes"])
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], torch.cat([features] * 3), rtol=0, atol=0)
    alone = [answer(*talker, [PIXELS], question, max_new_tokens=4).text for question in QUESTIONS]
    assert [one.given for one in found.answers] == alone


def test_right_answers_are_counted_by_kind(talker: tuple[Any, Any]):
    said = tuple(answer(*talker, [PIXELS], question, max_new_tokens=4).text for question in QUESTIONS)
    seen: list[None] = []
    asked = [image("a", answers=said), image("b", answers=(said[0], "no such", said[2]))]
    found = evaluate(*talker, asked, num_timed=1, max_new_tokens=4, on_image=lambda: seen.append(None))
    assert [(one.kind, one.num_right, one.num_questions) for one in found.scores] == [
        ("color", 4, 4),
        ("where", 1, 2),
        ("all", 5, 6),
    ]
    assert (found.num_images, found.num_timed, len(seen)) == (2, 1, 2)
    count = talker[1].num_image_tokens(90, 160)
    assert found.visual_tokens == (count, count, count)
    assert found.first_token_ms > 0
    assert [one.is_right for one in found.answers] == [True, True, True, True, False, True]


def test_the_reading_task_asks_what_its_samples_ask():
    task = ReadingSource(split="test", num_samples=4)
    asked = list(reading_questions(num_samples=4))
    for index, one in enumerate(asked):
        sample = task[index]
        assert torch.equal(one.images[0], sample.decode(0))
        assert [question.text for question in one.questions] == [
            message.content.removeprefix(IMAGE) for message in sample.messages[::2]
        ]
        assert [question.answer for question in one.questions] == [m.content for m in sample.messages[1::2]]


def test_a_conversation_becomes_questions_of_their_own():
    turns = [
        ("system", "be kind"),
        ("assistant", "welcome"),
        ("user", f"{IMAGE}\nwhat?"),
        ("assistant", "this"),
        ("user", "and?"),
        ("assistant", "that"),
        ("user", "bye"),
    ]
    messages = tuple(Message(role, text) for role, text in turns)  # pyright: ignore[reportArgumentType]
    (only,) = sample_questions([Sample(id="7", messages=messages, images=(PIXELS,)), Sample("8", messages[:1], ())])
    assert (only.name, len(only.images)) == ("7", 1)
    assert [(one.kind, one.text, one.answer) for one in only.questions] == [
        ("answer", "what?", "this"),
        ("answer", "and?", "that"),
    ]


def test_nothing_to_ask_is_refused(talker: tuple[Any, Any]):
    with pytest.raises(SpecError, match="there is no question to ask"):
        evaluate(*talker, [])
