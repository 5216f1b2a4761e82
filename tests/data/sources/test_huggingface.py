"""Data sets are read from disk and as streams, to the same samples, and no image is decoded on the way."""

import io
import json
from pathlib import Path

import datasets
import pytest
from PIL import Image

from opticnerve.data import HuggingFaceSource, HuggingFaceStream, Message, Sample
from opticnerve.errors import BadSampleError, DataError

PARTS = [[{"type": "image", "text": None}, {"type": "text", "text": "q"}], [{"type": "text", "text": "a"}]]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def png() -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (6, 4), "red").save(held, "png")
    return held.getvalue()


def rows() -> datasets.Dataset:
    """Text and image, text only, and an image that is no image."""
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    features = datasets.Features(
        {
            "messages": [{"role": datasets.Value("string"), "content": datasets.Value("string")}],
            "images": datasets.List(datasets.Image()),
            "other": datasets.Value("int64"),
        }
    )
    images = [[{"bytes": png(), "path": None}], None, [{"bytes": b"broken", "path": "x.png"}]]
    return datasets.Dataset.from_dict({"messages": [talk] * 3, "images": images, "other": [1, 2, 3]}, features=features)


def all_of(source: HuggingFaceSource) -> list[Sample]:
    return [source[index] for index in range(len(source))]


def check(samples: list[Sample], path: Path) -> None:
    assert [sample.id for sample in samples] == [f"{path}/default/train[{index}]" for index in range(3)]
    assert samples[0].messages == (Message("user", "<image>\nq"), Message("assistant", "a"))
    assert samples[1].messages[0] == Message("user", "q")
    assert [sample.images for sample in samples] == [(png(),), (), (b"broken",)]


def test_what_save_to_disk_wrote_is_read(tmp_path: Path):
    path = tmp_path / "saved"
    rows().save_to_disk(path)
    check(all_of(HuggingFaceSource(str(path))), path)
    check([sample for sample in HuggingFaceStream(str(path)) if isinstance(sample, Sample)], path)


def test_a_split_of_what_save_to_disk_wrote_is_read(tmp_path: Path):
    path = tmp_path / "saved"
    datasets.DatasetDict({"train": rows(), "test": rows().select([1])}).save_to_disk(path)
    check(all_of(HuggingFaceSource(str(path))), path)
    assert len(HuggingFaceSource(str(path), split="test")) == 1
    with pytest.raises(DataError, match='saved: cannot be opened.*configuration "default", split "dev": \'dev\''):
        HuggingFaceSource(str(path), split="dev")


@pytest.mark.parametrize("is_folder", [True, False])
def test_parquet_files_are_read(tmp_path: Path, capfd: pytest.CaptureFixture[str], is_folder: bool):
    folder = tmp_path / "parquet"
    folder.mkdir()
    rows().to_parquet(folder / "train-0.parquet")
    capfd.readouterr()
    path = folder if is_folder else folder / "train-0.parquet"
    check(all_of(HuggingFaceSource(str(path))), path)
    check([sample for sample in HuggingFaceStream(str(path)) if isinstance(sample, Sample)], path)
    assert capfd.readouterr() == ("", "")


def test_image_names_are_looked_for_below_the_folder(tmp_path: Path):
    path = tmp_path / "saved"
    talk = [{"from": "human", "value": "q <image>"}, {"from": "gpt", "value": "a"}]
    datasets.Dataset.from_list([{"conversations": talk, "image": "cat.jpg"}]).save_to_disk(path)
    (sample,) = all_of(HuggingFaceSource(str(path)))
    assert sample.images == (path / "cat.jpg",)
    assert sample.messages[0].content == "<image>\nq"


def test_messages_of_parts_are_read_as_columns_and_as_json(tmp_path: Path):
    talk = [{"role": role, "content": parts} for role, parts in zip(("user", "assistant"), PARTS, strict=True)]
    datasets.Dataset.from_list([{"messages": talk, "image": png()}]).save_to_disk(tmp_path / "columns")
    mixed = [talk[0], {"role": "assistant", "content": "a"}]
    features = datasets.Features({"messages": datasets.Json(), "image": datasets.Value("binary")})
    datasets.Dataset.from_dict({"messages": [mixed], "image": [png()]}, features=features).save_to_disk(
        tmp_path / "json"
    )
    for kind in ("columns", "json"):
        (sample,) = all_of(HuggingFaceSource(str(tmp_path / kind)))
        assert sample.messages == (Message("user", "<image>\nq"), Message("assistant", "a"))
        assert sample.images == (png(),)


def test_json_lines_are_streamed(tmp_path: Path):
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for _ in range(3)))
    samples = list(HuggingFaceStream(str(tmp_path / "rows")))
    assert [sample.messages for sample in samples if isinstance(sample, Sample)] == [
        (Message("user", "q"), Message("assistant", "a"))
    ] * 3


def test_a_bad_row_is_a_bad_sample(tmp_path: Path):
    talk = [{"role": "user", "content": "q"}, {"role": "critic", "content": "a"}]
    data = {"messages": [talk, talk[:1]], "images": [[], [{"bytes": None, "path": "hf://there/x.png"}]]}
    datasets.Dataset.from_dict(data).save_to_disk(tmp_path / "saved")
    source = HuggingFaceSource(str(tmp_path / "saved"))
    faults = [str(each) for each in HuggingFaceStream(str(tmp_path / "saved"))]
    for index, reason in enumerate(['"role": "critic" is not a known role', "an image is neither bytes nor the name"]):
        with pytest.raises(BadSampleError, match=reason) as caught:
            source[index]
        assert str(caught.value) == faults[index]
    with pytest.raises(IndexError, match="row 2 of 2"):
        source[2]


def test_what_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="no such folder, and not the name of a data set on the hub"):
        HuggingFaceSource(str(tmp_path / "gone"))
    with pytest.raises(DataError, match="nobody/nothing: cannot be opened as a Hugging Face data set"):
        HuggingFaceStream("nobody/nothing")
    datasets.Dataset.from_dict({"text": ["x"]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match='neither a "messages" nor a "conversations" column; its columns: text'):
        HuggingFaceSource(str(tmp_path / "saved"))


def test_a_stream_that_breaks_off_is_an_error(tmp_path: Path):
    rows().to_parquet(tmp_path / "a.parquet")
    stream = HuggingFaceStream(str(tmp_path / "a.parquet"))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataError, match=r"a.parquet: cannot be read on: "):
        list(stream)
