"""A run: the right numbers for every image, once; what was done stays; what cannot go on says so in a line."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as limited
from hypothesis import strategies as st

from encode.pictures import FEATURES, TOKENS, VIEWS, contents, encode, folder_of, manifest, picture, rows_of, skipped
from opticnerve.connectors import method
from opticnerve.data import decode_image
from opticnerve.encode import Compressor
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.run import encode_pictures
from opticnerve.encode.settings import EncodeSettings
from opticnerve.errors import CheckpointError
from opticnerve.holding import Hold
from opticnerve.views import ViewSettings, fitting_method


def features_one_by_one(path: Path, views: ViewSettings = VIEWS) -> torch.Tensor:
    """The slow way: one image alone through tiling and encoder."""
    return torch.cat([batch.flatten(0, 1) for batch in views.load().encode(decode_image(path)).batches])


def test_every_image_has_the_features_that_it_has_alone(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 11)
    summary = encode(photos, tmp_path / "out")
    rows = manifest(tmp_path / "out")
    assert [row["id"] for row in rows] == [f"{index:04d}.png" for index in range(11)]
    assert (summary.num_images, summary.num_skipped, summary.done.num_images) == (11, 0, 11)
    for row in rows:
        alone = features_one_by_one(photos / row["id"])
        assert row["num_rows"] == len(alone) == sum(r * c * f + p for r, c, f, p in row["grids"])
        torch.testing.assert_close(rows_of(tmp_path / "out", row), alone, rtol=1e-4, atol=1e-4)


def test_the_number_of_threads_does_not_change_a_byte(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 9)
    settings = replace(TOKENS, method="pool", dtype="fp32")
    before = torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            encode(photos, tmp_path / f"{number}", settings)
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(before)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "3")


def test_visual_tokens_are_those_of_the_compressor_with_the_same_seed(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 5)
    encode(photos, tmp_path / "out", replace(TOKENS, dtype="fp32", method="pool", method_options={"factor": 2}))
    tiled = VIEWS.load()
    spec = fitting_method("pool", tiled.sight, {"factor": 2})
    compressor = Compressor.with_random_weights(tiled, spec, llm_dim=24)
    for row in manifest(tmp_path / "out"):
        compressed = compressor.compress(decode_image(photos / row["id"]))
        found = rows_of(tmp_path / "out", row, "tokens")
        torch.testing.assert_close(found, compressed.tokens, rtol=1e-4, atol=1e-4)
        assert row["tile_boxes"] == compressed.tile_boxes.tolist()
        assert row["out_grids"] == [[p.rows, p.cols, p.frames, p.prefix] for p in compressed.places]
        assert row["num_tiles"] == compressed.counts.num_tiles


@pytest.mark.parametrize(
    "views",
    [
        ViewSettings(tiling="dynamic_s2", tiling_options={"scales_px": [32, 64, 96]}),
        ViewSettings(tiling="plain", tiling_options={"height_px": 64, "width_px": 64}, scales=(1, 2)),
        ViewSettings(tiling="qwen", tiling_options={"max_pixels": 4096}),
        ViewSettings(tiling="minicpm", tiling_options={"scale_px": 64}),
    ],
    ids=lambda views: views.tiling + str(views.scales),
)
def test_every_way_of_seeing_gives_what_it_gives_alone(tmp_path: Path, views: ViewSettings) -> None:
    photos = folder_of(tmp_path / "photos", 5)
    encode(photos, tmp_path / "out", replace(FEATURES, views=views))
    for row in manifest(tmp_path / "out"):
        alone = features_one_by_one(photos / row["id"], views)
        torch.testing.assert_close(rows_of(tmp_path / "out", row), alone, rtol=1e-4, atol=1e-4)


def test_a_trained_model_brings_all_along(tmp_path: Path) -> None:
    from opticnerve.family import open_model

    photos = folder_of(tmp_path / "photos", 3)
    encode(photos, tmp_path / "out", EncodeSettings(model="pixel_shuffle", dtype="fp32", device="cpu"))
    model, processor = open_model("pixel_shuffle")
    for row in manifest(tmp_path / "out"):
        image = decode_image(photos / row["id"])
        batch = processor.collate_views([(processor.views(image), (image.shape[1], image.shape[2]))])
        with torch.inference_mode():
            wanted = model.model.get_image_features(batch["pixel_values"], batch["image_sizes"]).pooler_output[0]
        torch.testing.assert_close(rows_of(tmp_path / "out", row, "tokens"), wanted, rtol=1e-4, atol=1e-4)


@limited(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)), tiles_per_call=st.integers(1, 9), shard_size=st.integers(1, 7))
def test_order_and_batch_never_change_an_image_beyond_rounding(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], tiles_per_call: int, shard_size: int
) -> None:
    home = tmp_path_factory.mktemp("order")
    photos = folder_of(home / "photos", 6)
    (home / "list.txt").write_text("".join(f"photos/{index:04d}.png\n" for index in order))
    encode(
        [str(home / "list.txt")], home / "out", replace(FEATURES, tiles_per_call=tiles_per_call), shard_size=shard_size
    )
    rows = manifest(home / "out")
    assert len(rows) == 6
    for row, index in zip(rows, order, strict=True):
        alone = features_one_by_one(photos / f"{index:04d}.png")
        torch.testing.assert_close(rows_of(home / "out", row), alone, rtol=1e-4, atol=1e-4)


def test_worker_processes_give_the_same_bytes(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 9)
    encode(photos, tmp_path / "none")
    encode(photos, tmp_path / "two", num_workers=2)
    assert contents(tmp_path / "none") == contents(tmp_path / "two")


def test_a_finished_run_does_nothing_and_a_missing_shard_is_made_again(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 9), tmp_path / "out"
    encode(photos, out)
    whole = contents(out)
    assert encode(photos, out).done.num_images == 0
    (out / "shards" / "00000001.safetensors").unlink()
    (out / "shards" / "00000002.parquet").unlink()
    assert encode(photos, out).done.num_images == 5
    assert contents(out) == whole


def test_new_pictures_are_added_and_finished_shards_stay(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 6), tmp_path / "out"
    encode(photos, out)
    before = {name: data for name, data in contents(out).items() if name.startswith("shards/")}
    folder_of(photos, 3, first=6)
    assert encode(photos, out).done.num_images == 3
    after = contents(out)
    assert {name: after[name] for name in before} == before
    assert [row["id"] for row in manifest(out)] == [f"{index:04d}.png" for index in range(9)]


def test_identical_pictures_are_encoded_once_and_share_their_rows(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 5), tmp_path / "out"
    for name in ("0002-copy.png", "9.png"):
        shutil.copy(photos / "0002.png", photos / name)
    summary = encode(photos, out)
    assert (summary.num_images, summary.num_duplicates, summary.done.num_images) == (7, 2, 5)
    rows = {row["id"]: row for row in manifest(out)}
    first = rows["0002.png"] if rows["0002.png"]["same_as"] is None else rows["0002-copy.png"]
    for name in {"0002.png", "0002-copy.png", "9.png"} - {first["id"]}:
        assert rows[name]["same_as"] == first["id"]
        assert [rows[name][key] for key in ("file", "start", "stop", "sha256")] == [
            first[key] for key in ("file", "start", "stop", "sha256")
        ]
    assert encode(photos, tmp_path / "each", keep_duplicates=True).done.num_images == 7


def test_bad_pictures_are_named_and_their_duplicates_too(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 3), tmp_path / "out"
    for name in ("bad.png", "worse.png"):
        (photos / name).write_bytes(b"not a picture, though it is called one")
    summary = encode(photos, out, max_skipped=0.5)
    assert (summary.num_images, summary.num_skipped) == (3, 2)
    assert set(skipped(out)) == {"bad.png", "worse.png"}
    assert all(reason.startswith("not an image in a known format") for reason in skipped(out).values())


def test_a_picture_that_was_mended_is_encoded_when_it_is_asked_for(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 3), tmp_path / "out"
    (photos / "bad.png").write_bytes(b"not a picture")
    assert encode(photos, out, max_skipped=0.5).num_skipped == 1
    (photos / "bad.png").write_bytes(picture(77))
    assert encode(photos, out, max_skipped=0.5, retry_skipped=True).num_images == 4
    assert not skipped(out)


def test_too_many_bad_pictures_stop_the_run_and_finished_shards_stay(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 8), tmp_path / "out"
    for index in range(200):
        (photos / f"bad{index:03d}.png").write_bytes(f"bad {index}".encode())
    said = r"\d+ of \d+ pictures were skipped, more than max-skipped 0\.1 allows: bad000\.png: not an image.*; finished"
    with pytest.raises(EncodeError, match=said):
        encode(photos, out)
    assert len(list((out / "shards").glob("*.parquet"))) >= 2
    assert encode(photos, out, max_skipped=1.0).num_skipped == 200


def test_few_pictures_are_judged_in_the_end(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 3), tmp_path / "out"
    (photos / "bad.png").write_bytes(b"bad")
    with pytest.raises(EncodeError, match=r"1 of 4 pictures were skipped, .*: .*skipped\.parquet names them\. Mend"):
        encode(photos, out)
    assert set(skipped(out)) == {"bad.png"}


def test_a_folder_that_was_begun_otherwise_is_refused_with_what_differs(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 3), tmp_path / "out"
    encode(photos, out)
    with pytest.raises(EncodeError, match=r'was begun with other settings: dtype was "fp32", now "bf16"\. Give those'):
        encode(photos, out, replace(FEATURES, dtype="bf16"))
    with pytest.raises(EncodeError, match=r"shard_size was 4, now 5"):
        encode(photos, out, shard_size=5)
    with pytest.raises(EncodeError, match=r'tiling was \{"name": "internvl".*'):
        encode(photos, out, replace(FEATURES, views=ViewSettings(tiling="plain")))


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 1), tmp_path / "out"
    hold = Hold(out, doing="encoding", error=EncodeError)
    hold.take()
    said = f"another run is encoding into {out}: wait for it, stop it, or choose another folder"
    with pytest.raises(EncodeError, match=re.escape(said)):
        encode(photos, out)
    hold.let_go()
    assert encode(photos, out).num_images == 1


def test_what_made_it_stands_beside_it(tmp_path: Path) -> None:
    encode(folder_of(tmp_path / "photos", 1), tmp_path / "out", TOKENS)
    about = json.loads((tmp_path / "out" / "encode.json").read_text())
    assert about["format"] == "opticnerve.encoded/1"
    assert about["settings"]["connector"] == json.loads(json.dumps(method("pixel_shuffle").to_dict()))
    assert about["settings"]["weights"] == "random, seed 0"
    assert len(about["settings"]["encoder_sha256"]) == 64
    assert about["sight"]["tiling"]["name"] == "internvl"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"shard_size": 0}, "a shard holds at least 1 picture, got shard_size 0"),
        ({"max_skipped": 2.0}, "max_skipped is a share from 0 to 1, got 2"),
        ({"num_workers": -1}, "num_workers is 0 or more, got -1"),
    ],
)
def test_limits_that_cannot_be_are_refused(tmp_path: Path, limits: dict[str, float], said: str) -> None:
    with pytest.raises(EncodeError, match=re.escape(said)):
        encode(tmp_path, tmp_path / "out", **limits)


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 1)
    with pytest.raises(EncodeError, match=r'device "gpu9" cannot be used: .*Give auto, cpu or cuda'):
        encode_pictures([str(photos)], tmp_path / "out", replace(FEATURES, device="gpu9"))
    with pytest.raises(EncodeError, match="tiles_per_call must be at least 1, got 0"):
        encode_pictures([str(photos)], tmp_path / "out", replace(FEATURES, tiles_per_call=0))
    with pytest.raises(CheckpointError, match="there is no model"):
        encode_pictures([str(photos)], tmp_path / "out", EncodeSettings(model="nobody"))
