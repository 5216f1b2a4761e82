"""Data sets of the Hugging Face library are sources; the library decodes nothing."""

import pickle
from pathlib import Path
from typing import Any

import datasets
import pytest

from encode.sources.files import opened, read_all, write
from opticnerve.encode.sources import open_pictures
from opticnerve.encode.sources.huggingface import HuggingFacePictures
from opticnerve.encode.sources.picture import ends_of
from opticnerve.errors import DataError, ImageError


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def rows(salt: str = "", count: int = 3) -> datasets.Dataset:
    """Rows whose images are none: a source never looks."""
    features = datasets.Features({"photo": datasets.Image(), "text": datasets.Value("string")})
    images = [{"bytes": f"{salt}{number}".encode() * 3000, "path": None} for number in range(count)]
    return datasets.Dataset.from_dict({"photo": images, "text": ["x"] * count}, features=features)


def test_what_save_to_disk_wrote_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    rows().save_to_disk(tmp_path / "saved")
    capfd.readouterr()
    assert opened(tmp_path / "saved") == {f"{number}": f"{number}".encode() * 3000 for number in range(3)}
    assert capfd.readouterr() == ("", "")


def test_all_splits_are_read_and_lengths_are_known_without_reading(tmp_path: Path):
    datasets.DatasetDict({"train": rows("t"), "dev": rows("d", 11)}).save_to_disk(tmp_path / "saved")
    source = open_pictures([str(tmp_path / "saved")])
    assert isinstance(source, HuggingFacePictures)
    pictures = list(source.pictures())
    names = [f"dev/{number}" for number in range(11)] + [f"train/{number}" for number in range(3)]
    assert [picture.id for picture in pictures] == names
    assert [picture.num_bytes for picture in pictures] == [6000] * 10 + [9000] + [6000] * 3
    assert source.read(pictures[-1]) == b"t2" * 3000
    assert source.read_ends(pictures[-1]) == ends_of(b"t2" * 3000)
    assert opened(pictures[-1].path) == {f"{number}": f"t{number}".encode() * 3000 for number in range(3)}


def test_rows_without_bytes_are_files_or_bad_pictures(tmp_path: Path):
    write(tmp_path, {"a.jpg": b"a"})
    data: Any = datasets.Dataset.from_dict({"image": [str(tmp_path / "a.jpg"), None, "gone.jpg"]})
    data.save_to_disk(tmp_path / "saved")
    source = open_pictures([str(tmp_path / "saved")])
    first, second, third = source.pictures()
    assert first.num_bytes is None
    assert pickle.loads(pickle.dumps(source)).read(first) == b"a"
    for picture, reason in ((second, "its row holds no image"), (third, "no such file")):
        with pytest.raises(ImageError, match=f"^{reason}$"):
            source.read(picture)


def test_a_name_on_the_hub_is_opened_with_configuration_and_split(monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[Any, ...]] = []

    def load(path: str, name: str | None, split: str | None) -> Any:
        asked.append((path, name, split))
        parts = {"train": rows("t"), "dev": rows("d")}
        return parts[split] if split else datasets.DatasetDict(parts)

    monkeypatch.setattr(datasets, "load_dataset", load)
    one, two, three = (open_pictures([f"someone/photos{rest}#photo"]) for rest in ("", ":dev", ":large:dev"))
    assert asked == [
        ("someone/photos", None, None),
        ("someone/photos", None, "dev"),
        ("someone/photos", "large", "dev"),
    ]
    assert list(read_all(one)) == [f"{split}/{number}" for split in ("dev", "train") for number in range(3)]
    assert read_all(two) == read_all(three) == {f"dev/{number}": f"d{number}".encode() * 3000 for number in range(3)}
    assert [next(iter(source.pictures())).path for source in (one, two, three)] == [
        "someone/photos:dev",
        "someone/photos:dev",
        "someone/photos:large:dev",
    ]


def test_what_cannot_be_opened_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="nobody/nothing: is no file or folder here, and cannot be opened as a Hugging"):
        open_pictures(["nobody/nothing"])
    write(tmp_path, {"dataset_info.json": b"{"})
    with pytest.raises(DataError, match=f"{tmp_path}: cannot be opened as a Hugging Face data set: "):
        open_pictures([str(tmp_path)])
    datasets.Dataset.from_dict({"text": ["x"]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=r"saved: has no image column: .*; its columns: text. Of another name"):
        open_pictures([str(tmp_path / "saved")])
