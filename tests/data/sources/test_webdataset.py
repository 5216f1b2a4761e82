"""Shards are read by number and as a stream, to the same samples; a damaged one costs what is behind the damage."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest

from opticnerve.data import Message, Sample, WebDatasetSource, WebDatasetStream
from opticnerve.data.sources import find_shards
from opticnerve.errors import BadSampleError, DataError

TALK = {"conversations": [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]}


def shard(path: Path, members: dict[str, bytes | object], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, content in members.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    shard(tmp_path / "s-008.tar", {"a/1.jpg": b"one", "a/1.json": TALK, "a/2.json": TALK, "a/2.PNG": b"two"})
    many = {f"3.{number}.jpg": f"{number}".encode() for number in (10, 2, 1)}
    talk = {"conversations": [{"from": "human", "value": "<image><image><image>"}, {"from": "gpt", "value": "a"}]}
    shard(tmp_path / "s-009.tar", {**many, "3.json": talk, "3.txt": b"not this", ".hidden.json": b"", "README": b"no"})
    shard(tmp_path / "s-010.tar", {"4.jpg": b"x", "4.txt": "a café".encode(), "4.json": {"width": 5}})
    return tmp_path


def read(source: WebDatasetStream) -> list[Sample | str]:
    return [str(found) if isinstance(found, BadSampleError) else found for found in source]


def test_the_samples_of_all_shards_are_read_in_order(shards: Path):
    pattern = f"{shards}/s-{{008..010}}.tar"
    source = WebDatasetSource(pattern)
    samples = [source[index] for index in range(len(source))]
    assert [sample.id for sample in samples] == [
        f"{shards}/s-008.tar:a/1",
        f"{shards}/s-008.tar:a/2",
        f"{shards}/s-009.tar:3",
        f"{shards}/s-010.tar:4",
    ]
    assert samples[0].messages == (Message("user", "<image>\nq"), Message("assistant", "a"))
    assert [sample.images for sample in samples] == [(b"one",), (b"two",), (b"1", b"2", b"10"), (b"x",)]
    assert samples[3].messages == (Message("user", "<image>"), Message("assistant", "a café"))
    assert read(WebDatasetStream(pattern)) == samples
    assert read(WebDatasetStream(f"{shards}/*.tar")) == samples
    assert pickle.loads(pickle.dumps(source))[2] == samples[2]
    with pytest.raises(IndexError, match="record 4 of 4"):
        source[4]


def test_a_stream_reads_compressed_shards_and_a_source_refuses_them(tmp_path: Path):
    path = shard(tmp_path / "a.tar.gz", {"1.json": TALK, "1.jpg": b"one"}, "w:gz")
    (sample,) = WebDatasetStream(str(path))
    assert isinstance(sample, Sample)
    assert sample.images == (b"one",)
    with pytest.raises(DataError, match=r"a.tar.gz: not a tar file without compression: unpack it, or read it as a st"):
        WebDatasetSource(str(path))


def test_what_is_no_tar_file_is_refused(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(b"hello" * 300)
    with pytest.raises(DataError, match=r"a.tar: not a tar file without compression"):
        WebDatasetSource(f"{tmp_path}/a.tar")
    (fault,) = read(WebDatasetStream(f"{tmp_path}/a.tar"))
    assert str(fault).startswith(f"{tmp_path}/a.tar: the shard is damaged behind its start: ")


def test_a_shard_that_is_cut_off_is_one_bad_sample_and_the_others_are_read(shards: Path):
    big = {f"{number}.json": TALK for number in range(3)} | {"3.jpg": bytes(9000), "3.json": TALK}
    whole = shard(shards / "s-008.tar", big).read_bytes()
    (shards / "s-008.tar").write_bytes(whole[:7000])
    found = read(WebDatasetStream(f"{shards}/s-00[89].tar"))
    faults = [each for each in found if isinstance(each, str)]
    assert faults == [f"{shards}/s-008.tar: the shard is damaged behind 3: unexpected end of data"]
    names = [each.id.rpartition(":")[2] for each in found if isinstance(each, Sample)]
    assert names == ["0", "1", "2", "3"]  # the last one is of the shard behind
    source = WebDatasetSource(f"{shards}/s-00[89].tar")
    last = 3  # of the first shard
    assert [source[index].id.rpartition(":")[2] for index in range(len(source)) if index != last] == names
    with pytest.raises(BadSampleError, match="s-008.tar: the shard is damaged behind 3: unexpected end of data"):
        source[last]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"1.jpg": b"x"}, "has no .json and no .txt, only jpg"),
        ({"1.json": b"{"}, "its .json is not JSON: Expecting property name"),
        ({"1.json": b"[]"}, "its .json is not an object with keys, but list"),
        ({"1.json": b"{}"}, 'the record has neither "conversations" nor "messages"; its keys: none'),
    ],
)
def test_a_bad_member_is_a_bad_sample(tmp_path: Path, members: dict[str, bytes | object], reason: str):
    path = shard(tmp_path / "a.tar", {**members, "2.json": TALK})
    source = WebDatasetSource(str(path))
    with pytest.raises(BadSampleError) as caught:
        source[0]
    assert str(caught.value).startswith(f"{path}:1: {reason}")
    first, second = read(WebDatasetStream(str(path)))
    assert first == str(caught.value)
    assert second == source[1]


def test_patterns_name_shards_in_order(tmp_path: Path):
    names = [f"{letter}-{number:02}.tar" for letter in "xy" for number in (8, 9, 10)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in find_shards(f"{tmp_path}/[xy]-{{08..10}}.tar")] == [
        f"{letter}-{number:02}.tar" for number in (8, 9, 10) for letter in "xy"
    ]
    with pytest.raises(DataError, match=r"x-11.tar: no such shard"):
        find_shards(f"{tmp_path}/x-{{10..11}}.tar")
    with pytest.raises(DataError, match=r"\*.zip: no such shard"):
        find_shards(f"{tmp_path}/*.zip")
