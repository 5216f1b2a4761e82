"""LLaVA's files are read as LLaVA reads them, and a bad record is one bad sample."""

import json
import pickle
from pathlib import Path

import pytest

from opticnerve.data import LlavaSource, Message, Sample
from opticnerve.errors import BadSampleError, DataError

SAYS = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]


def write(path: Path, records: list[object], *, as_lines: bool = False) -> Path:
    text = "\n".join(map(json.dumps, records)) + "\n" if as_lines else json.dumps(records, indent=1)
    path.write_text(text)
    return path


def read(tmp_path: Path, record: object) -> Sample:
    return LlavaSource(write(tmp_path / "one.json", [record]), images=tmp_path)[0]


@pytest.mark.parametrize("as_lines", [False, True])
def test_an_array_and_lines_hold_the_same_records(tmp_path: Path, as_lines: bool):
    records = [
        {"id": "a", "image": "dir/cat.jpg", "conversations": SAYS},
        {"id": 7, "conversations": [{"from": "human", "value": "Hi \u2028"}, {"from": "gpt", "value": "Hällo"}]},
        {"image": ["a.png", "b.png"], "conversations": [{"from": "human", "value": "<image><image>?"}, SAYS[1]]},
    ]
    path = write(tmp_path / "mix.json", records, as_lines=as_lines)
    source = LlavaSource(path, images=tmp_path)
    assert len(source) == 3
    assert source[0] == Sample(
        f"{path}[0] a",
        (Message("user", "<image>\nWhat is it?"), Message("assistant", "A cat.")),
        (tmp_path / "dir/cat.jpg",),
    )
    assert source[1] == Sample(f"{path}[1] 7", (Message("user", "Hi \u2028"), Message("assistant", "Hällo")), ())
    assert source[2].images == (tmp_path / "a.png", tmp_path / "b.png")
    assert source[2].messages[0].content == "<image><image>?"
    assert pickle.loads(pickle.dumps(source))[1] == source[1]
    with pytest.raises(IndexError, match="record 3 of 3"):
        source[3]


def test_chat_records_are_read_too(tmp_path: Path):
    parts = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    record = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "A cat."}]}
    sample = read(tmp_path, {**record, "images": ["cat.jpg"]})
    assert [message.content for message in sample.messages] == ["<image>\nWhat is it?", "A cat."]
    assert sample.images == (tmp_path / "cat.jpg",)


def test_the_images_of_a_chat_without_marks_stand_before_the_first_question(tmp_path: Path):
    roles = ("system", "user", "assistant", "user", "assistant")
    messages = [{"role": role, "content": role} for role in roles]
    sample = read(tmp_path, {"messages": messages, "images": ["a.jpg", "b.jpg"]})
    assert sample.messages[:2] == (Message("system", "system"), Message("user", "<image>\n<image>\nuser"))
    assert sample.messages[3] == Message("user", "user")


@pytest.mark.parametrize("value", ["What is it?\n<image>", "<image>\nWhat is it?", "What is <image>it?"])
def test_the_mark_of_a_single_image_moves_to_the_start_of_its_message(tmp_path: Path, value: str):
    sample = read(tmp_path, {"image": "a.jpg", "conversations": [{"from": "human", "value": value}, SAYS[1]]})
    assert sample.messages[0].content == "<image>\nWhat is it?"


def test_an_answer_before_the_first_question_is_left_out(tmp_path: Path):
    sample = read(tmp_path, {"conversations": [SAYS[1], {"from": "human", "value": "q"}, SAYS[1]]})
    assert [message.role for message in sample.messages] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ([1], "the record is not an object with keys, but list"),
        ({"id": 1}, 'the record has neither "conversations" nor "messages"; its keys: id'),
        ({"conversations": "hello"}, '"conversations" is not a list of messages'),
        ({"messages": ["hello"]}, '"messages" is not a list of messages'),
        ({"conversations": [{"from": "bard", "value": "x"}]}, '"from": "bard" is not a known role: system, human'),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "is not a known role"),
        ({"conversations": [{"from": "human"}]}, '"value" of the human is not text, but NoneType'),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "a part of a message is neither"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "a part of a message is neither"),
        ({"image": 3, "conversations": SAYS}, "the name of an image is not text, but 3"),
        ({"image": [""], "conversations": SAYS}, "the name of an image is not text, but ''"),
        ({"image": "https://x/y.jpg", "conversations": SAYS}, "images are read from files: download it first"),
    ],
)
def test_a_bad_record_is_a_bad_sample(tmp_path: Path, record: object, reason: str):
    with pytest.raises(BadSampleError) as caught:
        read(tmp_path, record)
    assert reason in caught.value.reason
    assert caught.value.sample.startswith(f"{tmp_path / 'one.json'}[0]")


def test_a_bad_line_is_a_bad_sample(tmp_path: Path):
    path = tmp_path / "mix.jsonl"
    path.write_text('\n{"conversations": []}\n\n{"conversations": [\n')
    source = LlavaSource(path)
    assert len(source) == 2
    assert source[0].messages == ()
    with pytest.raises(BadSampleError, match=r"mix.jsonl\[1\]: not JSON: Expecting value"):
        source[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"[]", "the file holds no records"),
        (b"[1, ", "not valid JSON: Expecting value"),
        (b'{\n"a": 1}', "neither a JSON array nor one JSON object a line"),
        (b"\xff\xfe\x00", "neither a JSON array nor one JSON object a line"),
    ],
)
def test_a_file_that_is_neither_kind_is_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "mix.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        LlavaSource(path)


def test_a_missing_file_or_folder_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone.json: cannot be read: No such file or directory"):
        LlavaSource(tmp_path / "gone.json")
    path = write(tmp_path / "one.json", [{}])
    with pytest.raises(DataError, match=r"gone: no such folder of images; it is given for .*one.json"):
        LlavaSource(path, images=tmp_path / "gone")
