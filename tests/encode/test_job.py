"""A folder of images becomes a folder of token files: nothing half done, nothing done twice, nothing overwritten."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from encode.tiny import TinyEncoder
from opticnerve import method
from opticnerve.encode import Compressor, Done, Failed, Job, StoreError, make_folder, read_metadata, read_tokens
from opticnerve.errors import GridError
from opticnerve.views import TiledEncoder, fitting_tiling


def compressor(*, seed: int = 0, tiling: str = "internvl", factor: int = 2) -> Compressor:
    encoder = TinyEncoder()
    tiled = TiledEncoder(encoder, fitting_tiling(tiling, encoder.info, {}))
    return Compressor.with_random_weights(tiled, method("pixel_shuffle", factor=factor), llm_dim=20, seed=seed)


def paint(path: Path, color: str = "red", size: tuple[int, int] = (100, 70)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def done(result: Done | Failed) -> Done:
    assert isinstance(result, Done)
    return result


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_token_file_holds_tokens_grids_boxes_and_where_they_came_from(tmp_path: Path, out: Path):
    cat = paint(tmp_path / "cat.jpg")
    (result,) = map(done, Job(compressor(), out).run([cat]))
    assert result.tokens_path == out / "cat.jpg.safetensors"
    stored = read_tokens(result.tokens_path)
    assert stored.tokens.shape == (result.counts.num_tokens, 20)
    assert stored.grids.tolist() == [[4, 4, 1, 0]] * result.counts.num_tiles
    assert stored.out_grids.tolist() == [[2, 2, 1, 0]] * result.counts.num_tiles
    assert stored.tile_boxes[-1].tolist() == [0, 0, 70, 100]
    metadata = stored.metadata
    assert metadata["format"] == "opticnerve.tokens/1"
    assert metadata["weights"] == "random, seed 0"
    assert json.loads(metadata["connector"])["name"] == "pixel_shuffle"
    assert json.loads(metadata["tiling"])["name"] == "internvl"
    assert json.loads(metadata["encoder"])["name"] == "tiny"
    source = json.loads(metadata["source"])
    assert (source["name"], source["height_px"], source["width_px"]) == ("cat.jpg", 70, 100)
    assert str(tmp_path) not in json.dumps(dict(metadata))


def test_what_is_there_with_the_same_settings_is_not_done_again(tmp_path: Path, out: Path):
    cat = paint(tmp_path / "cat.png")
    first = done(next(Job(compressor(), out).run([cat])))
    before = first.tokens_path.stat().st_mtime_ns
    again = done(next(Job(compressor(), out).run([cat])))
    assert again.is_kept
    assert again.counts == first.counts
    assert again.tokens_path.stat().st_mtime_ns == before
    assert not done(next(Job(compressor(), out, is_overwriting=True).run([cat]))).is_kept


@pytest.mark.parametrize("change", ["seed", "tiling", "factor", "image"])
def test_changed_settings_or_pixels_are_done_again(tmp_path: Path, out: Path, change: str):
    cat = paint(tmp_path / "cat.png")
    list(Job(compressor(), out).run([cat]))
    other = {
        "seed": lambda: compressor(seed=1),
        "tiling": lambda: compressor(tiling="plain"),
        "factor": lambda: compressor(factor=4),
        "image": lambda: compressor(),
    }[change]()
    if change == "image":
        paint(cat, "blue")
    result = done(next(Job(other, out).run([cat])))
    assert not result.is_kept
    assert result.tokens_path == out / "cat.png.safetensors"
    assert len(list(out.iterdir())) == 1


def test_images_of_one_name_from_two_folders_do_not_overwrite_each_other(tmp_path: Path, out: Path):
    red, blue = paint(tmp_path / "a" / "cat.png", "red"), paint(tmp_path / "b" / "cat.png", "blue")
    first, second = map(done, Job(compressor(), out).run([red, blue]))
    assert first.tokens_path == out / "cat.png.safetensors"
    assert second.tokens_path != first.tokens_path
    assert not torch.equal(read_tokens(first.tokens_path).tokens, read_tokens(second.tokens_path).tokens)
    again = [done(result) for result in Job(compressor(), out).run([blue, red])]
    assert all(result.is_kept for result in again)
    assert [result.tokens_path for result in again] == [second.tokens_path, first.tokens_path]


def test_a_copy_in_another_folder_is_not_done_twice(tmp_path: Path, out: Path):
    first = done(next(Job(compressor(), out).run([paint(tmp_path / "a" / "cat.png")])))
    copy = done(next(Job(compressor(), out).run([paint(tmp_path / "b" / "cat.png")])))
    assert copy.is_kept
    assert copy.tokens_path == first.tokens_path


def test_a_bad_image_is_passed_over_and_the_others_are_finished(tmp_path: Path, out: Path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no")
    results = list(Job(compressor(), out).run([bad, paint(tmp_path / "cat.png"), tmp_path / "gone.png"]))
    assert [type(result) for result in results] == [Failed, Done, Failed]
    assert isinstance(results[0], Failed)
    assert results[0].reason.startswith(f"{bad}: not an image")
    assert [path.name for path in out.iterdir()] == ["cat.png.safetensors"]


def test_settings_that_fit_no_image_stop_the_job(tmp_path: Path, out: Path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    images = [paint(tmp_path / "cat.png"), broken, paint(tmp_path / "dog.png")]
    with pytest.raises(GridError, match="cannot merge a 4 x 4 grid by 3"):
        list(Job(compressor(factor=3), out).run(images))
    assert not list(out.iterdir())


def test_an_image_that_the_settings_do_not_fit_is_passed_over_where_another_fits(tmp_path: Path, out: Path):
    square, odd = paint(tmp_path / "a.png", size=(32, 32)), paint(tmp_path / "b.png", size=(24, 40))
    results = list(Job(compressor(tiling="minicpm"), out).run([odd, square, odd, square]))
    assert [type(result) for result in results] == [Failed, Done, Failed, Done]
    for result in (results[0], results[2]):
        assert isinstance(result, Failed)
        assert result.reason.startswith(f"{odd}: cannot merge a ")


def test_an_image_that_the_tiling_refuses_is_named(tmp_path: Path, out: Path):
    line = paint(tmp_path / "line.png", size=(900, 1))
    (result,) = Job(compressor(tiling="qwen"), out).run([line])
    assert isinstance(result, Failed)
    assert result.reason.startswith(f"{line}: an image of 1 x 900 px is more than 200 times")


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_run_that_stops_while_it_writes_leaves_no_file(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
):
    write = Path.write_bytes

    def stop(path: Path, data: bytes) -> int:
        write(path, data[:100])
        raise failure

    cat = paint(tmp_path / "cat.png")
    job = Job(compressor(), out)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", stop)
        with pytest.raises((KeyboardInterrupt, StoreError)) as caught:
            next(job.run([cat]))
    assert not list(out.iterdir())
    if isinstance(failure, OSError):
        assert "cannot write" in str(caught.value)
        assert "the disk is full" in str(caught.value)
    assert not done(next(job.run([cat]))).is_kept


def test_a_folder_that_cannot_be_made_or_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot make the folder .*file/out: not a directory"):
        make_folder(tmp_path / "file" / "out")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreError, match="cannot write into the folder .*no permission"):
        make_folder(tmp_path)


def test_a_damaged_or_foreign_token_file_is_named(tmp_path: Path):
    with pytest.raises(StoreError, match="none.safetensors: no such file"):
        read_metadata(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"12345678")
    with pytest.raises(StoreError, match="bad.safetensors: damaged, or not a safetensors file"):
        read_tokens(tmp_path / "bad.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(StoreError, match='not a file of visual tokens: its "format" is null'):
        read_tokens(tmp_path / "foreign.safetensors")


def test_a_damaged_token_file_is_done_again(tmp_path: Path, out: Path):
    cat = paint(tmp_path / "cat.png")
    path = done(next(Job(compressor(), out).run([cat]))).tokens_path
    path.write_bytes(path.read_bytes()[:50])
    assert not done(next(Job(compressor(), out).run([cat]))).is_kept
    read_tokens(path)


@pytest.mark.parametrize("source", [None, "{", "{}"])
def test_a_token_file_that_no_job_has_written_is_done_again(tmp_path: Path, out: Path, source: str | None):
    cat = paint(tmp_path / "cat.png")
    path = done(next(Job(compressor(), out).run([cat]))).tokens_path
    metadata = dict(read_metadata(path))
    del metadata["source"]
    save_file({"tokens": torch.zeros(1, 20)}, path, {**metadata, **({} if source is None else {"source": source})})
    assert not done(next(Job(compressor(), out).run([cat]))).is_kept
    assert len(read_tokens(path).tokens) > 1


def test_a_picture_stands_beside_its_tokens_and_is_made_where_it_is_missing(tmp_path: Path, out: Path):
    cat = paint(tmp_path / "cat.png")
    list(Job(compressor(), out).run([cat]))
    result = done(next(Job(compressor(), out, draw=lambda name, *_: name.encode()).run([cat])))
    assert not result.is_kept
    assert result.picture_path == out / "cat.png.tokens.png"
    assert result.picture_path.read_bytes() == b"cat.png"
    list(Job(compressor(seed=1), out).run([cat]))
    assert not result.picture_path.exists()
