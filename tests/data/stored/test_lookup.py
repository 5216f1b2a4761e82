"""Samples get what is stored of their images: files by path or name, bytes by their digest."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from data.stored.writer import Entry, write_folder
from opticnerve.data import ImageSource, Message, Sample, SeenImage, SeenTokens
from opticnerve.data.stored.folder import StoredFolder
from opticnerve.data.stored.lookup import Lookup, StoredSource, StoredStream
from opticnerve.errors import BadSampleError, DataError

SKIPPED = [("cats/bad.jpg", "/photos/cats/bad.jpg", "the file is empty")]


def value(number: float) -> torch.Tensor:
    return torch.full((1, 4), number)


def lookup_in(tmp_path: Path, *some: Entry, images: Path | None = None, keep: str = "features") -> Lookup:
    folder = StoredFolder(write_folder(tmp_path / "stored", some, keep=keep, skipped=SKIPPED))
    return Lookup(folder=folder, images=images or tmp_path / "photos")


def sample(*images: ImageSource) -> Sample:
    talk = (Message("user", "<image>" * len(images)), Message("assistant", "yes"))
    return Sample("s", talk, images, {"asked": torch.tensor([1])})


def found(lookup: Lookup, *images: ImageSource) -> list[float]:
    seen = lookup(sample(*images)).images
    return [float((one.features if isinstance(one, SeenImage) else one.tokens)[0, 0]) for one in seen]  # type: ignore


def test_a_sample_stays_what_it_is_but_for_its_images(tmp_path: Path) -> None:
    lookup = lookup_in(tmp_path, Entry(id="1.jpg", values=value(1), size=(30, 40)))
    before = sample(tmp_path / "photos" / "1.jpg")
    after = lookup(before)
    assert (after.id, after.messages, after.labels) == (before.id, before.messages, before.labels)
    assert after.size(0) == (30, 40)
    assert isinstance(after.images[0], SeenImage)
    assert lookup(sample()).images == ()


def test_stored_tokens_become_tokens(tmp_path: Path) -> None:
    lookup = lookup_in(tmp_path, Entry(id="1.jpg", values=value(1)), keep="tokens")
    (image,) = lookup(sample(tmp_path / "photos" / "1.jpg")).images
    assert isinstance(image, SeenTokens)


def test_a_file_is_found_by_its_name_below_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    lookup = lookup_in(tmp_path, Entry(id="cats/1.jpg", path="/elsewhere/cats/1.jpg", values=value(1)))
    assert found(lookup, photos / "cats" / "1.jpg", photos / "dogs" / ".." / "cats" / "1.jpg") == [1, 1]
    monkeypatch.chdir(tmp_path)
    near = Lookup(folder=lookup.folder, images=Path("photos"))
    assert found(near, Path("photos/cats/1.jpg"), photos / "cats" / "1.jpg") == [1, 1]
    assert found(Lookup(folder=lookup.folder, images=Path()), Path("cats/1.jpg")) == [1]


def test_a_file_is_found_by_its_path_however_either_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lookup = lookup_in(
        tmp_path,
        Entry(id="x/1", path="photos/1.jpg", values=value(1)),
        Entry(id="x/2", path=str(tmp_path / "photos" / "2.jpg"), values=value(2)),
        images=tmp_path / "none",
    )
    for number in (1, 2):
        assert found(lookup, Path(f"photos/{number}.jpg"), tmp_path / "photos" / f"{number}.jpg") == [number] * 2


def test_the_path_counts_more_than_the_name(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    lookup = lookup_in(
        tmp_path,
        Entry(id="1.jpg", path=str(tmp_path / "other" / "1.jpg"), values=value(1)),
        Entry(id="b/1.jpg", path=str(photos / "1.jpg"), values=value(2)),
    )
    assert found(lookup, photos / "1.jpg") == [2]


def test_bytes_are_found_by_their_digest(tmp_path: Path) -> None:
    some = [Entry(id=f"a.tar/{n}.jpg", path="a.tar", content=b"%d" % n, values=value(n)) for n in range(5)]
    lookup = lookup_in(tmp_path, *some)
    assert found(lookup, b"3", b"0", b"4") == [3, 0, 4]


def test_an_image_that_is_not_stored_is_a_bad_sample(tmp_path: Path) -> None:
    lookup = lookup_in(tmp_path, Entry(id="1.jpg", values=value(1)))
    photos, folder = tmp_path / "photos", lookup.folder.path
    said: list[tuple[ImageSource, str]] = [
        (photos / "2.jpg", f"{photos}/2.jpg: is not among the 1 images in {folder}"),
        (photos / "cats/bad.jpg", f"{photos}/cats/bad.jpg: was skipped when {folder} was encoded: the file is empty"),
        (
            Path("/photos/cats/bad.jpg"),
            f"/photos/cats/bad.jpg: was skipped when {folder} was encoded: the file is empty",
        ),
        (b"new", f"the image with sha256 11507a0e2f5e...: is not among the 1 images in {folder}"),
        (Image.new("RGB", (2, 2)), f"an image that is a Image has no path and no bytes to look for in {folder}"),
    ]
    for image, reason in said:
        with pytest.raises(BadSampleError) as caught:
            lookup(sample(photos / "1.jpg", image))
        assert (caught.value.sample, caught.value.reason) == ("s", f"image 2: {reason}")


class Pictures:
    """Three samples, of which one cannot be read and one has no stored image."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        if index == 1:
            raise BadSampleError("1", "not JSON")
        return sample(b"%d" % index)

    def __iter__(self) -> Iterator[Sample | BadSampleError]:
        yield from (self[0], BadSampleError("1", "not JSON"), self[2])


def test_a_source_and_a_stream_give_their_samples_with_stored_images(tmp_path: Path) -> None:
    lookup = lookup_in(tmp_path, Entry(id="a", content=b"0", values=value(7)))
    source = pickle.loads(pickle.dumps(StoredSource(Pictures(), lookup)))
    first, second, third = StoredStream(Pictures(), lookup)
    assert len(source) == 3
    for one in (source[0], first):
        assert isinstance(one, Sample)
        assert isinstance(one.images[0], SeenImage)
        assert one.images[0].features.tolist() == value(7).tolist()
    for index, other, reason in ((1, second, "not JSON"), (2, third, "is not among the 1 images")):
        assert isinstance(other, BadSampleError)
        with pytest.raises(BadSampleError, match=reason):
            source[index]
        assert reason in str(other)


def test_a_damaged_shard_is_not_the_samples_fault(tmp_path: Path) -> None:
    lookup = lookup_in(tmp_path, Entry(id="a", content=b"0", values=value(7)))
    (lookup.folder.path / "shards" / "00000000.safetensors").write_bytes(b"no")
    for read in (lambda: StoredSource(Pictures(), lookup)[0], lambda: list(StoredStream(Pictures(), lookup))):
        with pytest.raises(DataError, match="is damaged") as caught:
            read()
        assert not isinstance(caught.value, BadSampleError)
