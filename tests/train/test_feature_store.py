"""Features of a frozen encoder that are computed once and kept."""

import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from opticnerve.data import Message, Sample, SeenImage
from opticnerve.data.reading import ReadingSource
from opticnerve.data.sources import LlavaSource
from opticnerve.errors import BadSampleError, DataError
from opticnerve.train import feature_store as module
from opticnerve.train.errors import TrainingError
from opticnerve.train.feature_store import FeatureStore, seer, store_name
from opticnerve.train.run import run
from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor, assemble
from train import tiny

TALK = (Message("user", "<image> and <image>?"), Message("assistant", "yes"))
See = Callable[[Sequence[Tensor]], list[Tensor]]


class Pictures:
    """Eleven samples: of noise, of two sizes, two images each; number 4 is no picture, number 7 has none."""

    def __init__(self, num: int = 11) -> None:
        self.num = num
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> Sample:
        self.asked.append(index)
        if index == 4:
            return Sample("4", TALK, (b"no picture", self.picture(4, 30)))
        if index == 5:
            raise BadSampleError("5", "the line is not JSON")
        if index == 7:
            return Sample("7", (Message("user", "hello?"), TALK[1]), ())
        labels = {"items": torch.arange(12.0).view(1, 12) + index, "asked": torch.tensor([index, -1])}
        return Sample(str(index), TALK, (self.picture(index, 30), self.picture(index, 50)), labels)

    def picture(self, index: int, rows: int) -> Tensor:
        generator = torch.Generator().manual_seed(100 * index + rows)
        return torch.randint(256, (3, rows, 40), generator=generator, dtype=torch.uint8)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_SIZE", 4)
    monkeypatch.setattr(module, "BATCH_SIZE", 3)


@pytest.fixture(scope="module")
def vlm(parts: Path) -> tuple[OpticNerveForConditionalGeneration, OpticNerveProcessor]:
    return built(parts)


def built(parts: Path, **changes: Any) -> tuple[OpticNerveForConditionalGeneration, OpticNerveProcessor]:
    given = {"encoder": str(parts / "encoder"), "llm": str(parts / "llm"), "tiling": "internvl", **changes}
    return assemble(**given)


def means(images: Sequence[Tensor]) -> list[Tensor]:
    """An encoder that sees one number, and knows which image is whose."""
    return [image.float().mean().view(1, 1).half() for image in images]


def filled(folder: Path, see: See = means) -> FeatureStore:
    store = FeatureStore(folder, Pictures())
    for shard in store.missing():
        store.make(shard, see)
    return store


# -- what comes back -------------------------------------------------------------------------------------------------


def test_a_store_gives_back_the_samples_with_what_the_encoder_sees(vlm: Any, tmp_path: Path) -> None:
    model, processor = vlm
    store = filled(tmp_path, seer(model, processor, precision="fp32"))
    assert len(store) == 11
    for index in (0, 1, 2, 3, 6, 7, 8, 9, 10):
        plain, found = Pictures()[index], store[index]
        assert (found.id, found.messages, len(found.images)) == (plain.id, plain.messages, len(plain.images))
        assert set(found.labels) == set(plain.labels)
        assert all(torch.equal(found.labels[name], plain.labels[name]) for name in plain.labels)
        for number, seen in enumerate(found.images):
            assert isinstance(seen, SeenImage)
            pixels = plain.decode(number)
            assert found.size(number) == plain.size(number) == (seen.height_px, seen.width_px)
            batch = processor.collate_views([(processor.views(pixels), plain.size(number))])
            with torch.no_grad():
                features = model.image_features(batch["pixel_values"], batch["image_sizes"])
            assert seen.features.dtype == torch.float16
            torch.testing.assert_close(seen.features.float(), features, rtol=2e-3, atol=1e-5)


def test_each_image_has_its_own_features(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for index in (0, 3, 6, 10):
        seen = [image.features for image in store[index].images if isinstance(image, SeenImage)]
        assert torch.equal(torch.cat(seen), torch.cat(means([Pictures().picture(index, rows) for rows in (30, 50)])))


def test_the_encoder_sees_full_batches(tmp_path: Path) -> None:
    sizes: list[int] = []
    filled(tmp_path, lambda images: sizes.append(len(images)) or means(images))
    assert sizes == [4, 4, 2, 4, 2]  # two samples of two images, of a shard of four; the last shard has three


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_have_no_graph_and_come_in_half_the_bytes(vlm: Any, precision: str) -> None:
    model, processor = vlm
    see = seer(model, processor, precision=precision)
    model.requires_grad_(True)
    images = [Pictures().picture(0, rows) for rows in (30, 50, 30)]
    found = see(images)
    for image, features in zip(images, found, strict=True):
        (alone,) = see([image])
        assert (features.dtype, features.requires_grad) == (torch.float16, False)
        torch.testing.assert_close(features, alone, rtol=2e-2, atol=2e-2)
        assert features.untyped_storage().nbytes() == 2 * features.numel()  # no view of the batch


def test_features_beyond_float16_are_kept_as_bfloat16(
    vlm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = vlm
    usual = model.model.image_features

    def bright(pixel_values: Any, image_sizes: Tensor) -> Tensor:
        features = usual(pixel_values, image_sizes).clone()
        features[0, 0] = 1e6  # of the first image
        return features

    monkeypatch.setattr(model.model, "image_features", bright)
    store = FeatureStore(tmp_path, Pictures(1))
    store.make(0, seer(model, processor, precision="fp32"))
    one, other = store[0].images
    assert isinstance(one, SeenImage)
    assert isinstance(other, SeenImage)
    assert (one.features.dtype, other.features.dtype) == (torch.bfloat16, torch.float16)
    torch.testing.assert_close(float(one.features[0, 0]), 1e6, rtol=1e-2, atol=0.0)
    assert one.features.isfinite().all()


def test_a_bad_sample_is_kept_as_such(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for index, reason in ((4, "not an image in a known format"), (5, "the line is not JSON")):
        with pytest.raises(BadSampleError) as caught:
            store[index]
        assert (caught.value.sample, reason in caught.value.reason) == (str(index), True)
        with pytest.raises(BadSampleError):
            store[index]
    assert store[6].id == "6"


def test_a_store_goes_to_another_process_with_its_files_closed(tmp_path: Path) -> None:
    store = filled(tmp_path)
    first = store[0]
    again = pickle.loads(pickle.dumps(store))
    assert again[0].messages == first.messages
    assert again[10].id == store[10].id == "10"


def test_reading_asks_the_source_for_nothing(tmp_path: Path) -> None:
    filled(tmp_path)
    store = FeatureStore(tmp_path, source := Pictures())
    assert not store.missing()
    assert [store[index].id for index in (0, 6, 10)] == ["0", "6", "10"]
    assert not source.asked


# -- shards ----------------------------------------------------------------------------------------------------------


def test_only_missing_shards_are_made(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"0000{number}.safetensors" for number in range(3)]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / "00001.safetensors").unlink()
    store = FeatureStore(tmp_path, source := Pictures())
    assert store.missing() == [1]
    for shard in store.missing():
        store.make(shard, means)
    assert source.asked == [4, 5, 6, 7]
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed <= {"00001.safetensors"}
    assert store[6].id == "6"


def test_a_failure_of_the_encoder_leaves_no_file(tmp_path: Path) -> None:
    calls: list[int] = []

    def fails(images: Sequence[Tensor]) -> list[Tensor]:
        calls.append(len(images))
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return means(images)

    store = FeatureStore(tmp_path / "new", Pictures())
    with pytest.raises(RuntimeError, match="out of memory"):
        store.make(0, fails)
    assert not list(tmp_path.rglob("*.safetensors*"))
    assert store.missing() == [0, 1, 2]


@pytest.mark.parametrize("where", ["while writing", "before the rename"])
def test_a_failure_of_the_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    usual = module.save_file
    names: list[str] = []

    def fails(tensors: Any, path: Path, metadata: Any) -> None:
        names.append(Path(path).name)
        if where == "while writing":
            Path(path).write_bytes(b"half of it")
            raise OSError("the disk is full")
        usual(tensors, path, metadata=metadata)
        monkeypatch.setattr(os, "replace", refuse)
        monkeypatch.setattr(Path, "replace", refuse)

    def refuse(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(module, "save_file", fails)
    store = FeatureStore(tmp_path, Pictures())
    with pytest.raises(OSError, match="the disk is full"):
        store.make(1, means)
    assert names
    assert names[0] != "00001.safetensors"
    assert not list(tmp_path.iterdir())
    assert store.missing() == [0, 1, 2]


def test_what_a_killed_process_has_left_is_no_shard(tmp_path: Path) -> None:
    (tmp_path / ".00000.99999").write_bytes(b"half of it")
    assert FeatureStore(tmp_path, Pictures()).missing() == [0, 1, 2]


# -- names -----------------------------------------------------------------------------------------------------------


DATA: dict[str, object] = {"kind": "reading", "num_samples": 8}


def name_of(vlm: Any, data: dict[str, object] = DATA, precision: str = "fp32") -> str:
    return store_name(data, *vlm, precision=precision)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": (1,)},
        {"layers": (0, 2), "method": "concat_mlp"},
        {"tiling": "plain"},
        {"tiling_options": {"max_tiles": 3}},
        {"scales": (1, 2), "tiling": "plain"},
    ],
)
def test_the_name_changes_with_how_images_are_seen(vlm: Any, parts: Path, changes: dict[str, Any]) -> None:
    assert name_of(built(parts, **changes)) != name_of(vlm)


def test_the_name_changes_with_a_weight_of_the_encoder_the_data_and_the_precision(vlm: Any, parts: Path) -> None:
    name = name_of(vlm)
    assert name == name_of(vlm) == name_of(built(parts))
    assert name_of(vlm, {**DATA, "num_samples": 9}) != name
    assert name_of(vlm, precision="bf16") != name
    other = built(parts)
    with torch.no_grad():
        next(other[0].parts["encoder"].parameters()).view(-1)[0] += 1e-6
    assert name_of(other) != name


def test_the_name_changes_with_the_file_of_the_data(vlm: Any, tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text("[]")
    data: dict[str, object] = {"kind": "llava", "path": str(path)}
    names = [name_of(vlm, data)]
    os.utime(path, ns=(1, 1))
    names.append(name_of(vlm, data))
    assert names[0] != names[1] == name_of(vlm, data)


@pytest.mark.parametrize("changes", [{"method": "pool"}, {"seed": 3}, {"template": "vicuna_v1"}])
def test_the_name_does_not_depend_on_connector_and_template(vlm: Any, parts: Path, changes: dict[str, Any]) -> None:
    assert name_of(built(parts, **changes)) == name_of(vlm)


def test_the_name_does_not_depend_on_the_llm(vlm: Any, parts: Path) -> None:
    other = built(parts)
    with torch.no_grad():
        for parameter in other[0].parts["llm"].parameters():
            parameter.add_(1)
    assert name_of(other) == name_of(vlm)


# -- training --------------------------------------------------------------------------------------------------------


def test_training_on_stored_features_begins_with_the_loss_of_training_on_images(parts: Path, tmp_path: Path) -> None:
    found = []
    for is_cached in (False, True):
        stage = tiny.stage(parts, cache_features=is_cached, open={"connector": 1e-2, "llm": 1e-3})
        recipe = tiny.recipe(parts, stage, features=str(tmp_path / "features"))
        listener = tiny.Listener()
        run(recipe, tmp_path / str(is_cached), progress=listener)
        found.append(([step.loss for step in listener.steps], listener.lines))
    assert found[1][0][0] == pytest.approx(found[0][0][0], rel=1e-2)
    assert found[1][0] == pytest.approx(found[0][0], rel=5e-2)
    said = 'computing the features of 24 samples for stage "align", once for all epochs'
    assert [said in lines for _, lines in found] == [False, True]
    shards = sorted((tmp_path / "features").rglob("*.safetensors"))
    assert len(shards) == 6

    stage = tiny.stage(parts, cache_features=True, steps=1)
    listener = tiny.Listener()
    recipe = tiny.recipe(parts, stage, features=str(tmp_path / "features"))
    run(recipe, tmp_path / "again", progress=listener)
    assert said not in listener.lines  # the folder is shared
    assert sorted((tmp_path / "features").rglob("*.safetensors")) == shards


def test_stored_samples_are_those_of_the_source(parts: Path, vlm: Any, tmp_path: Path) -> None:
    source = LlavaSource(str(parts / "data.json"), images=str(parts / "images"))
    store = FeatureStore(tmp_path, source)
    for shard in store.missing():
        store.make(shard, seer(*vlm, precision="fp32"))
    assert [store[index].messages for index in range(24)] == [source[index].messages for index in range(24)]
    with Image.open(parts / "images" / "9.png") as image:
        assert store[9].size(0) == (image.height, image.width)


def test_features_stay_below_the_run_where_no_folder_is_named(parts: Path, tmp_path: Path) -> None:
    run(tiny.recipe(parts, tiny.stage(parts, cache_features=True, steps=1)), tmp_path / "out")
    assert len(list((tmp_path / "out" / "features").rglob("*.safetensors"))) == 6


@pytest.mark.parametrize("part", ["encoder", "encoder.layers.1-2"])
@pytest.mark.parametrize("when", ["in the same stage", "in a later one"])
def test_features_of_an_encoder_that_trains_are_refused(parts: Path, tmp_path: Path, part: str, when: str) -> None:
    opened = {"connector": 1e-2, part: 1e-4}
    if when == "in the same stage":
        stages = [tiny.stage(parts, cache_features=True, open=opened)]
    else:
        stages = [tiny.stage(parts, cache_features=True), tiny.stage(parts, name="two", open=opened)]
    with pytest.raises(TrainingError) as caught:
        run(tiny.recipe(parts, *stages), tmp_path / "out")
    assert str(caught.value) == (
        'stage "align" keeps features of an encoder that a stage of this recipe trains: leave the encoder frozen in all'
        " stages, or set cache_features to false."
    )
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_features_of_a_stream_are_refused(parts: Path, tmp_path: Path) -> None:
    data = [{"kind": "webdataset", "shards": str(tmp_path / "data.tar"), "streaming": True}]
    (tmp_path / "data.tar").write_bytes(b"")
    with pytest.raises(TrainingError, match='stage "align" reads a stream, whose features cannot be stored by number'):
        run(tiny.recipe(parts, tiny.stage(parts, data=data, cache_features=True)), tmp_path / "out")


def test_a_damaged_shard_says_what_to_do(tmp_path: Path):
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "00000.safetensors").write_bytes(b"no")
    with pytest.raises(DataError, match=r"00000\.safetensors are damaged .* delete the file, it is made again"):
        FeatureStore(folder, ReadingSource(num_samples=2))[0]
