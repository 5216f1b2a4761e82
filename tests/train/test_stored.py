"""Training on stored images is training on the images, and a folder of another model's is refused."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from data.stored.writer import Entry, skip, write_folder
from opticnerve.data import read_bad_samples
from opticnerve.data.images import decode_image
from opticnerve.encode.run import Limits, encode_pictures
from opticnerve.encode.settings import EncodeSettings, Kept
from opticnerve.encoders import weights_sha256
from opticnerve.errors import DataError
from opticnerve.train.errors import TrainingError
from opticnerve.train.load_recipe import load_recipe
from opticnerve.train.recipe import LlavaData
from opticnerve.train.run import run
from opticnerve.train.sources import open_source
from opticnerve.views import ViewSettings
from opticnerve.vlm import assemble
from train import tiny

MODEL = {"method": "mlp", "tiling": "internvl"}
BOTH = {"connector": 1e-2, "llm": 1e-3}


def encoded(parts: Path, folder: Path, *, keep: str = "features", dtype: str = "fp32", **changes: Any) -> str:
    """What `opticnerve encode` writes of the tiny images."""
    model, processor = assemble(encoder=str(parts / "encoder"), llm=str(parts / "llm"), **{**MODEL, **changes})
    some: list[Entry] = []
    for path in sorted((parts / "images").iterdir()):
        pixels = decode_image(path)
        size = (pixels.shape[1], pixels.shape[2])
        batch = processor.collate_views([(processor.views(pixels), size)])
        with torch.no_grad():
            values: Tensor = model.image_features(batch["pixel_values"], batch["image_sizes"])
            if keep == "tokens":
                (values,) = model.model.visual_tokens(values, batch["image_sizes"])
        some.append(Entry(id=path.name, path=f"/x/{path.name}", values=values, size=size, content=path.read_bytes()))
    settings = {
        "encoder_sha256": weights_sha256(model.parts["encoder"]),
        "levels": list(model.parts["encoder"].levels),
        "connector": processor.image_processor.spec.to_dict(),
        "connector_sha256": weights_sha256(model.parts["connector"]),
    }
    sight = processor.image_processor.sight.to_dict()
    return str(write_folder(folder, some, keep=keep, dtype=dtype, settings=settings, sight=sight))


@pytest.fixture(scope="module")
def features(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return encoded(parts, tmp_path_factory.mktemp("encoded") / "features")


@pytest.fixture(scope="module")
def tokens(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return encoded(parts, tmp_path_factory.mktemp("encoded") / "tokens", keep="tokens")


@pytest.fixture(scope="module")
def no_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the images are not."""
    return tmp_path_factory.mktemp("no_images")


def data_of(parts: Path, stored: str, images: Path) -> list[dict[str, Any]]:
    return [{"kind": "llava", "path": str(parts / "data.json"), "images": str(images), "stored": stored}]


def trained(parts: Path, out: Path, *, workers: int = 0, **changes: Any) -> list[float]:
    """The losses of a stage."""
    listener = tiny.Listener()
    model = {"encoder": str(parts / "encoder"), "llm": str(parts / "llm"), **MODEL}
    recipe = tiny.recipe(parts, tiny.stage(parts, **changes), model=model, num_workers=workers)
    run(recipe, out, progress=listener)
    shutil.rmtree(out)
    return [step.loss for step in listener.steps]


@pytest.fixture(scope="module")
def from_images(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return trained(parts, tmp_path_factory.mktemp("images"), open=BOTH)


# -- the same losses -------------------------------------------------------------------------------------------------


def test_features_in_float32_give_the_losses_of_the_images(
    parts: Path, features: str, no_images: Path, from_images: list[float], tmp_path: Path
) -> None:
    found = trained(parts, tmp_path / "out", open=BOTH, data=data_of(parts, features, no_images))
    assert len(found) == 6
    assert found == pytest.approx(from_images, rel=1e-6)


@pytest.mark.parametrize(("dtype", "rel"), [("bf16", 2e-3), ("fp16", 3e-4), ("int8", 2e-3)])
def test_smaller_numbers_give_nearly_the_losses_of_the_images(
    parts: Path, no_images: Path, from_images: list[float], tmp_path: Path, dtype: str, rel: float
) -> None:
    stored = encoded(parts, tmp_path / "stored", dtype=dtype)
    found = trained(parts, tmp_path / "out", open=BOTH, data=data_of(parts, stored, no_images))
    assert found == pytest.approx(from_images, rel=rel)
    assert found != from_images


@pytest.mark.parametrize("changes", [{"packing": True}, {"group_by_length": True}, {"micro_batch_size": 1}])
def test_packed_grouped_and_cut_batches_give_the_losses_of_the_images(
    parts: Path, features: str, no_images: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    wanted = trained(parts, tmp_path / "a", steps=2, **changes)
    found = trained(parts, tmp_path / "b", steps=2, data=data_of(parts, features, no_images), **changes)
    assert found == pytest.approx(wanted, rel=1e-6)


def test_worker_processes_read_the_same(parts: Path, features: str, no_images: Path, tmp_path: Path) -> None:
    data = data_of(parts, features, no_images)
    alone, shared = (trained(parts, tmp_path / str(n), steps=2, workers=n, data=data) for n in (0, 2))
    assert shared == alone


@pytest.mark.parametrize("packing", [False, True])
def test_tokens_train_the_llm_alone_with_the_losses_of_the_images(
    parts: Path, tokens: str, no_images: Path, tmp_path: Path, packing: bool
) -> None:
    opened = {"llm": 1e-3}
    wanted = trained(parts, tmp_path / "a", open=opened, packing=packing)
    found = trained(parts, tmp_path / "b", open=opened, packing=packing, data=data_of(parts, tokens, no_images))
    assert found == pytest.approx(wanted, rel=1e-6)
    assert found[-1] != found[0]


def test_stored_features_and_those_of_a_cache_share_batches(
    parts: Path, features: str, no_images: Path, tmp_path: Path
) -> None:
    data = [*data_of(parts, features, no_images), *tiny.stage(parts)["data"]]
    found = trained(parts, tmp_path / "out", data=data, cache_features=True)
    assert len(found) == 6


@pytest.mark.parametrize("streaming", [False, True])
def test_the_images_of_tar_files_are_found_by_their_bytes(
    parts: Path, features: str, tmp_path: Path, streaming: bool
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for record in json.loads((parts / "data.json").read_text())[:8]:
            members = {"json": json.dumps(record).encode()}
            if "image" in record:
                members["png"] = (parts / "images" / record["image"]).read_bytes()
            for ending, content in members.items():
                info = tarfile.TarInfo(f"{record['id']}.{ending}")
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    plain: dict[str, Any] = {"kind": "webdataset", "shards": str(tmp_path / "a.tar"), "streaming": streaming}
    wanted = trained(parts, tmp_path / "x", steps=2, data=[plain])
    found = trained(parts, tmp_path / "y", steps=2, data=[{**plain, "stored": features}])
    assert found == pytest.approx(wanted, rel=1e-6)


# -- bad samples ----------------------------------------------------------------------------------------------------


def test_images_that_are_not_stored_are_bad_samples(parts: Path, no_images: Path, tmp_path: Path) -> None:
    records = json.loads((parts / "data.json").read_text())
    records[0]["image"], records[1]["image"] = "new.png", "bad.png"
    (tmp_path / "data.json").write_text(json.dumps(records))
    stored = encoded(parts, tmp_path / "stored")
    skip(Path(stored), "bad.png", "not an image in a known format")
    data = {**data_of(parts, stored, no_images)[0], "path": str(tmp_path / "data.json")}
    model = {"encoder": str(parts / "encoder"), "llm": str(parts / "llm"), **MODEL}
    recipe = tiny.recipe(parts, tiny.stage(parts, data=[data]), model=model, max_bad_share=0.2)
    run(recipe, tmp_path / "out")
    path = tmp_path / "data.json"
    assert read_bad_samples(tmp_path / "out" / "bad_samples.jsonl") == {
        f"{path}[0] 0": f"image 1: {no_images}/new.png: is not among the 18 images in {stored}",
        f"{path}[1] 1": f"image 1: {no_images}/bad.png: was skipped when {stored} was encoded: "
        "not an image in a known format",
    }


# -- with what encode writes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["features", "tokens"])
def test_what_encode_writes_gives_the_losses_of_the_images(
    parts: Path, no_images: Path, tmp_path: Path, keep: Kept
) -> None:
    opened = {"llm": 1e-3} if keep == "tokens" else BOTH
    wanted = trained(parts, tmp_path / "a", steps=2, open=opened)
    views = ViewSettings(encoder=str(parts / "encoder"))
    settings = EncodeSettings(views=views, method="mlp", llm_dim=32, keep=keep, dtype="fp32", device="cpu")
    stored = tmp_path / "stored"
    encode_pictures([str(parts / "images")], stored, settings, limits=Limits(num_workers=0))
    found = trained(parts, tmp_path / "b", steps=2, open=opened, data=data_of(parts, str(stored), no_images))
    assert found == pytest.approx(wanted, rel=1e-5)


def test_the_shipped_recipe_trains_on_what_its_first_lines_encode(parts: Path, no_images: Path, tmp_path: Path) -> None:
    stored = tmp_path / "stored"
    settings = EncodeSettings(views=ViewSettings(tiling="plain"), keep="features", device="cpu")
    encode_pictures([str(parts / "images")], stored, settings, limits=Limits(num_workers=0))
    places = {"path": parts / "data.json", "images": no_images, "stored": stored}
    own = [f"stages.*.data.0.{key}={value}" for key, value in places.items()]
    small = ["stages.*.batch_size=4", "stages.*.micro_batch_size=2", "stages.*.steps=1"]
    trained_model = run(load_recipe("from_tokens", [*own, *small]), tmp_path / "out")
    assert (trained_model / "model.safetensors").is_file()
    assert not read_bad_samples(tmp_path / "out" / "bad_samples.jsonl")


# -- what is refused -------------------------------------------------------------------------------------------------


def refusal(parts: Path, out: Path, error: type[Exception] = TrainingError, **changes: Any) -> str:
    with pytest.raises(error) as caught:
        trained(parts, out, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("part", ["encoder", "encoder.layers.1-2"])
def test_features_of_an_encoder_that_trains_are_refused(parts: Path, features: str, tmp_path: Path, part: str) -> None:
    data = data_of(parts, features, parts / "images")
    assert refusal(parts, tmp_path / "out", open={part: 1e-4, "connector": 1e-3}, data=data) == (
        'stage "align" trains on stored features, which do not change with the encoder: leave the encoder frozen.'
    )


@pytest.mark.parametrize("changes", [{}, {"open": {"llm": 1e-3}, "elastic": [{}, {}]}])
def test_tokens_of_a_connector_that_trains_are_refused(
    parts: Path, tokens: str, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert refusal(parts, tmp_path / "out", data=data_of(parts, tokens, parts / "images"), **changes) == (
        'stage "align" trains on stored tokens, which do not change with the connector: leave it frozen and without'
        " elastic budgets, or encode with --keep features."
    )


def test_images_in_two_ways_are_refused(parts: Path, features: str, tokens: str, tmp_path: Path) -> None:
    stored, plain = data_of(parts, features, parts / "images"), tiny.stage(parts)["data"]
    assert refusal(parts, tmp_path / "a", data=[*stored, *plain]) == (
        'stage "align" trains on stored features, and on data without "stored": give each of its data a folder.'
    )
    both = [*stored, *data_of(parts, tokens, parts / "images")]
    assert refusal(parts, tmp_path / "b", data=both, open={"llm": 1e-3}) == (
        'stage "align" trains on stored features and tokens: take features alone, or tokens alone.'
    )
    some = [*plain, *data_of(parts, tokens, parts / "images")]
    assert 'stored tokens, and on data without "stored"' in refusal(
        parts, tmp_path / "c", data=some, open={"llm": 1e-3}, cache_features=True
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tiling_options": {"max_tiles": 3}}, "tiling.max_tiles is 3 there, 12 here"),
        ({"tiling": "plain"}, 'tiling.name is "plain" there, "internvl" here'),
        ({"layers": (1,)}, "encoder_sha256 is "),
    ],
)
def test_features_that_were_seen_otherwise_are_refused(
    parts: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    stored = encoded(parts, tmp_path / "stored", **changes)
    found = refusal(parts, tmp_path / "out", data=data_of(parts, stored, parts / "images"))
    start = f'stage "align" cannot train on {stored}, which was encoded otherwise than its model would: '
    assert found.startswith(start)
    assert said in found
    assert found.endswith(". Encode again with the model's settings, or change the recipe.")


def edited(stored: str, folder: Path, **settings: Any) -> str:
    shutil.copytree(stored, folder)
    about = json.loads((folder / "encode.json").read_text())
    about["settings"].update(settings)
    (folder / "encode.json").write_text(json.dumps(about))
    return str(folder)


def test_features_of_other_weights_are_refused(parts: Path, features: str, tmp_path: Path) -> None:
    stored = edited(features, tmp_path / "stored", encoder_sha256="0123456789abcdef")
    found = refusal(parts, tmp_path / "out", data=data_of(parts, stored, parts / "images"))
    assert "would: encoder_sha256 is 0123456789ab... there, " in found


@pytest.mark.parametrize(
    ("levels", "said"), [([0, 2], "levels is [0, 2] there, [] here"), (None, "levels is null there, [] here")]
)
def test_features_of_other_layers_are_refused(
    parts: Path, features: str, tmp_path: Path, levels: list[int] | None, said: str
) -> None:
    stored = edited(features, tmp_path / "stored", levels=levels)
    assert said in refusal(parts, tmp_path / "out", data=data_of(parts, stored, parts / "images"))


def test_features_do_not_depend_on_the_connector_and_tokens_do(
    parts: Path, features: str, tokens: str, no_images: Path, tmp_path: Path
) -> None:
    other: dict[str, Any] = {"connector": {"name": "other"}, "connector_sha256": "ab"}
    stored = edited(features, tmp_path / "features", **other)
    assert len(trained(parts, tmp_path / "a", steps=1, data=data_of(parts, stored, no_images))) == 1
    stored = edited(tokens, tmp_path / "tokens", **other)
    data = data_of(parts, stored, no_images)
    found = refusal(parts, tmp_path / "b", open={"llm": 1e-3}, data=data)
    assert 'connector.name is "other" there, "mlp" here' in found
    assert "connector_sha256 is ab... there, " in found


def test_the_name_of_the_encoder_may_differ(parts: Path, features: str, no_images: Path, tmp_path: Path) -> None:
    shutil.copytree(features, tmp_path / "stored")
    path = tmp_path / "stored" / "encode.json"
    about = json.loads(path.read_text())
    about["sight"]["info"]["name"] = "/elsewhere/encoder"
    path.write_text(json.dumps(about))
    data = data_of(parts, str(tmp_path / "stored"), no_images)
    assert len(trained(parts, tmp_path / "out", steps=1, data=data)) == 1


def test_a_folder_that_is_not_finished_is_refused(parts: Path, features: str, tmp_path: Path) -> None:
    shutil.copytree(features, tmp_path / "stored")
    (tmp_path / "stored" / "manifest.parquet").unlink()
    data = data_of(parts, str(tmp_path / "stored"), parts / "images")
    assert "the run is not finished" in refusal(parts, tmp_path / "out", DataError, data=data)


def test_stored_images_are_for_stages(parts: Path, features: str) -> None:
    with pytest.raises(DataError, match=r'stored ".+features" is for the data of stages: here pictures are read'):
        open_source(LlavaData(kind="llava", path=str(parts / "data.json"), stored=features))
