import random

import numpy as np
import pytest
import torch

from opticnerve.data import IMAGE
from opticnerve.data.reading import (
    CANVAS_PX,
    KINDS_OF_QUESTION,
    Question,
    ReadingSource,
    Scene,
    ask_about,
    draw_scene,
    is_held_out,
    item_table,
    label_cells,
    load_font,
    recipe_at,
    split_of,
    words_of_questions,
)
from opticnerve.data.reading.questions import quadrant
from opticnerve.data.reading.scene import SHAPES, Item
from opticnerve.encoders.bundled.probe import ALPHABET, COLORS, KINDS
from opticnerve.errors import OpticNerveError, SpecError

SCENES = [draw_scene(random.Random(seed), split="train", recipe=recipe_at(1.0)) for seed in range(40)]


def test_the_same_number_is_the_same_sample_in_every_run():
    first, again = (ReadingSource(num_samples=5)[3] for _ in range(2))
    assert first.messages == again.messages
    assert torch.equal(first.decode(0), again.decode(0))
    other = ReadingSource(num_samples=5, split="validation")[3]
    assert not torch.equal(first.decode(0), other.decode(0))


def test_every_code_belongs_to_one_split_and_scenes_hold_codes_of_their_own_only():
    for split in ("train", "validation", "test"):
        scene = draw_scene(random.Random(0), split=split, recipe=recipe_at(1.0))
        codes = [item.text for item in scene.items if item.kind == "text"]
        assert codes
        assert {split_of(code) for code in codes} == {split}
    shares = [split_of(a + b + c) for a in ALPHABET for b in ALPHABET[:9] for c in ALPHABET[:9]]
    assert 0.85 < shares.count("train") / len(shares) < 0.95
    assert all(is_held_out(word) == (split_of(word) != "train") for word in ("A7K", "4XQ2", "ZZZ9"))


def test_what_the_scene_says_is_there_is_drawn_in_its_box():
    for scene in SCENES:
        for item in scene.items:
            if item.kind in ("square", "bar"):
                left, top, right, bottom = (round(side) for side in item.box)
                inside = scene.pixels[top + 2 : bottom - 1, left + 2 : right - 1].reshape(-1, 3).mean(0)
                assert np.abs(inside - COLORS[item.color]).max() < 14, item


def test_codes_differ_in_colour_and_shapes_of_one_kind_too():
    for scene in SCENES:
        for kind in ("text", *SHAPES):
            colors = [item.color for item in scene.items if item.kind == kind]
            assert len(colors) == len(set(colors))


def test_easy_scenes_hold_less_in_larger_type():
    easy = [draw_scene(random.Random(seed), split="train", recipe=recipe_at(0.0)) for seed in range(40)]
    assert sum(len(scene.items) for scene in easy) < 0.5 * sum(len(scene.items) for scene in SCENES)
    sizes = [[item.font_px for scene in some for item in scene.items if item.font_px] for some in (easy, SCENES)]
    assert min(sizes[0]) >= 24 > 14 > min(sizes[1])


def asked(*kinds: str) -> list[tuple[Scene, Question, Item]]:
    rng = random.Random(1)
    pairs = [(scene, question) for scene in SCENES for question in ask_about(scene, rng, most=20)]
    return [(scene, question, scene.items[question.item]) for scene, question in pairs if question.kind in kinds]


def test_the_answer_to_a_reading_question_is_the_code_that_it_points_at():
    for scene, question, item in asked("color", "marker", "place"):
        assert question.answer == item.text
        assert question.font_px == item.font_px > 0
        if question.kind == "marker":
            marker = scene.items[item.marker]
            assert f"{marker.color} {marker.kind}" in question.text
            assert marker.box[2] <= item.box[0]
        if question.kind == "place":
            codes = [quadrant(other) for other in scene.items if other.kind == "text"]
            assert quadrant(item) in question.text
            assert codes.count(quadrant(item)) == 1


def test_the_other_answers_are_what_the_scene_shows():
    for _, question, item in asked("where"):
        assert question.answer == quadrant(item)
    for _, question, item in asked("value"):
        assert question.answer == str(item.value)
    for _, question, item in asked("shape"):
        assert question.answer == item.color
    for scene, question, _ in asked("count"):
        (shape,) = [shape for shape in SHAPES if shape in question.text.replace("pluses", "plus")]
        assert question.answer == str(sum(other.kind == shape for other in scene.items))


def test_every_kind_of_question_is_asked_with_known_words_only():
    rng, seen, known = random.Random(2), set(), {*words_of_questions(), *COLORS}
    for scene in SCENES:
        for question in ask_about(scene, rng, most=6):
            seen.add(question.kind)
            assert set(question.text.replace("?", "").replace(".", "").split()) <= known
    assert seen == set(KINDS_OF_QUESTION)


def test_no_question_is_asked_twice_of_a_scene_and_no_more_than_wanted():
    for scene in SCENES:
        questions = ask_about(scene, random.Random(3), most=5)
        assert len({(question.kind, question.text.lower(), question.item) for question in questions}) == len(questions)
        assert len(questions) <= 5


def test_a_sample_is_a_conversation_with_its_picture_first_or_without_any():
    sample = ReadingSource(num_samples=3)[1]
    assert sample.size(0) == (CANVAS_PX, CANVAS_PX)
    assert [message.content.count(IMAGE) for message in sample.messages] == [1] + [0] * (len(sample.messages) - 1)
    bare = ReadingSource(num_samples=3, has_pictures=False)[1]
    assert bare.images == ()
    assert IMAGE not in "".join(message.content for message in bare.messages)
    assert bare.labels["items"].shape[1] == 12


def test_a_box_that_fills_a_cell_labels_it_and_an_empty_cell_says_nothing():
    code = Item(kind="text", color="red", box=(0, 0, 100, 60), text="A7", font_px=30)
    bar = Item(kind="bar", color="blue", box=(300, 300, 400, 500), value=6)
    cells = label_cells(item_table([code, bar]), rows=2, cols=2)
    red, blue = 1 + list(COLORS).index("red"), 1 + list(COLORS).index("blue")
    symbols = [1 + ALPHABET.index(symbol) for symbol in "A7"]
    assert cells.classes[0].tolist() == [*symbols, 0, 0, 0, 1, red, 0, 0, 0]
    assert cells.classes[3].tolist() == [0] * 5 + [1 + KINDS.index("bar"), blue, 0, 0, 6]
    assert not cells.classes[1:3].any()
    assert torch.allclose(cells.boxes[0], torch.tensor([50, 30, 100, 60]) / CANVAS_PX)


def test_the_second_thing_of_a_cell_is_named_by_kind_and_colour():
    large = Item(kind="circle", color="green", box=(0, 0, 200, 200))
    small = Item(kind="star", color="pink", box=(210, 210, 250, 250))
    (cell,) = label_cells(item_table([small, large]), rows=1, cols=1).classes.tolist()
    assert cell[5:9] == [
        1 + KINDS.index("circle"),
        1 + list(COLORS).index("green"),
        1 + KINDS.index("star"),
        1 + list(COLORS).index("pink"),
    ]


def test_labels_lie_row_by_row():
    right = Item(kind="square", color="red", box=(300, 10, 340, 50))
    filled = label_cells(item_table([right]), rows=3, cols=4).classes[:, 5].nonzero().flatten().tolist()
    assert filled == [2]


def test_a_scene_without_things_is_all_nothing():
    cells = label_cells(item_table([]), rows=2, cols=3)
    assert cells.classes.shape == (6, 10)
    assert not cells.classes.any()
    assert ask_about(Scene(pixels=SCENES[0].pixels, items=()), random.Random(0), most=3)[0].answer == "0"


@pytest.mark.parametrize("options", [{"num_samples": 0}, {"num_samples": 1, "level": 2.0}])
def test_numbers_that_cannot_be_are_refused(options: dict[str, float]):
    with pytest.raises(SpecError, match="needs num_samples and num_questions of at least 1 and a level from 0 to 1"):
        ReadingSource(**options)


def test_the_share_of_charts_is_as_asked_for():
    def num_charts(share: float | None) -> int:
        source = ReadingSource(num_samples=40, has_pictures=False, chart_share=share)
        return sum(any(item.kind == "bar" for item in source.scene(index)[0].items) for index in range(40))

    assert num_charts(0.0) == 0
    assert num_charts(0.0) < num_charts(None) < num_charts(1.0)
    with pytest.raises(SpecError, match=r"chart_share of the reading task is a share from 0 to 1, got 1\.5"):
        ReadingSource(num_samples=1, chart_share=1.5)


def test_a_number_past_the_end_is_refused():
    with pytest.raises(IndexError, match="has 2 samples here, there is no number 2"):
        ReadingSource(num_samples=2)[2]


def test_missing_fonts_say_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("opticnerve.data.reading.fonts.find_spec", lambda name: None)
    load_font.cache_clear()
    with pytest.raises(OpticNerveError, match="pip install 'opticnerve\\[train\\]'"):
        load_font("DejaVuSans", 12)
