"""`opticnerve compress` from the flags to the files, the table, the JSON and the exit code."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor

from cli.conftest import Run
from encode.tiny import TinyEncoder
from opticnerve import METHODS
from opticnerve.encode import Job, StoreError, read_tokens
from opticnerve.errors import EncoderError
from opticnerve.explorer import draw_picture
from opticnerve.grid import Grid


@pytest.fixture(autouse=True)
def tiny_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line loads the tiny encoder."""

    def load(name: str, *, layers: tuple[int, ...] | str, prefix: str) -> TinyEncoder:
        if name != "bundled":
            raise EncoderError(f'there is no encoder "{name}"')
        return TinyEncoder(num_levels=1 if isinstance(layers, str) else len(layers))

    monkeypatch.setattr("opticnerve.views.settings.load_encoder", load)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (100, 70), "red").save(folder / "a.png")
    Image.new("RGB", (32, 32), "blue").save(folder / "b.jpg")
    return folder


def test_the_main_job_needs_nothing_but_an_image(
    opticnerve: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    code, out, err = opticnerve("compress", photos)
    assert (code, err) == (0, "")
    for word in ("image", "tiles", "features", "tokens", "ratio", "GFLOP", "ms", "a.png", "70 x 100", "b.jpg"):
        assert word in out
    assert "2 images: 2 in tokens." in out
    assert "weights are random, seed 0: counts and costs are real, but the tokens mean nothing" in out
    assert read_tokens(tmp_path / "tokens" / "a.png.safetensors").tokens.shape[1] == 2048


def test_a_trained_model_brings_all_along_and_nothing_is_said_of_random_weights(
    opticnerve: Run, photos: Path, tmp_path: Path
):
    code, out, _ = opticnerve("compress", photos, "--out", tmp_path / "t", "--model", "ldpv2")
    assert code == 0
    assert "ldpv2" in out
    assert "random" not in out
    stored = read_tokens(tmp_path / "t" / "a.png.safetensors")
    assert stored.metadata["weights"].startswith("ldpv2, sha256 ")
    *_, document = opticnerve("compress", photos, "--out", tmp_path / "t", "--model", "ldpv2", "--json")[:2]
    assert "note" not in json.loads(document)
    assert all(image["is_kept"] for image in json.loads(document)["images"])


def test_json_is_one_document_and_nothing_else(opticnerve: Run, photos: Path, tmp_path: Path):
    (photos / "bad.png").write_bytes(b"no")
    code, out, err = opticnerve(
        *("compress", photos, "--out", tmp_path / "t", "--json", "--method", "pool", "--method.factor", "4"),
        *("--llm-dim", "24", "--tiling.max-tiles=2", "--scales", "1,2", "--seed", "7"),
    )
    assert code == 1
    assert err.startswith(f"opticnerve: skipped {photos / 'bad.png'}: not an image")
    document = json.loads(out)
    assert document["weights"] == "random, seed 7"
    assert "random" in document["note"]
    assert document["connector"]["blocks"][-1]["factor"] == 4
    assert document["tiling"]["max_tiles"] == 2
    assert document["scales"] == [1, 2]
    assert document["summary"] == {"done": 2, "kept": 0, "failed": 1}
    assert document["failed"][0]["image"] == str(photos / "bad.png")
    first = document["images"][0]
    assert (first["height_px"], first["width_px"], first["ratio"]) == (70, 100, 16)
    assert set(first["ms"]) == {"decode", "tile", "encode", "connect"}
    assert len(read_tokens(first["tokens_file"]).tokens) == first["num_tokens"]


def test_a_second_run_keeps_what_is_there(opticnerve: Run, photos: Path, tmp_path: Path):
    line = ("compress", photos, "--out", tmp_path / "t")
    opticnerve(*line)
    code, out, _ = opticnerve(*line)
    assert code == 0
    assert "2 images: 2 in " in out
    assert "2 of them by an earlier run" in out
    assert "kept" in out
    _, out, _ = opticnerve(*line, "--overwrite", "--json")
    assert json.loads(out)["summary"] == {"done": 2, "kept": 0, "failed": 0}


def test_bad_images_are_named_skipped_and_counted(opticnerve: Run, photos: Path, tmp_path: Path):
    (photos / "empty.png").touch()
    (photos / "notes.png").write_text("hello")
    (photos / "cut.jpg").write_bytes((photos / "b.jpg").read_bytes()[:300])
    code, out, err = opticnerve(
        "compress", photos, tmp_path / "gone.png", "--out", tmp_path / "t", "--max-pixels", 2000
    )
    assert code == 1
    assert len(err.splitlines()) == 5
    assert "empty.png: the file is empty (0 bytes)" in err
    assert "notes.png: not an image in a known format" in err
    assert "cut.jpg: truncated or damaged" in err
    assert "gone.png: no such file" in err
    assert "a.png: 7,000 pixels (70 x 100 px) are more than the limit of 2,000" in err
    assert "6 images: 1 in " in out
    assert "; 5 failed, see above." in out


def test_pictures_are_drawn(opticnerve: Run, photos: Path, tmp_path: Path):
    code, out, _ = opticnerve("compress", photos, "--picture", "--out", tmp_path / "t", "--json", "--scales", "1,2")
    assert code == 0
    for entry in json.loads(out)["images"]:
        assert entry["picture_file"] == str(tmp_path / "t" / f"{Path(entry['image']).name}.tokens.png")
        with Image.open(entry["picture_file"]) as picture:
            assert picture.width >= 900


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_picture_shows_tokens_over_their_patches_whatever_their_order(
    opticnerve: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
):
    drawn: list[list[Grid]] = []
    whole = draw_picture

    def draw(image: Tensor, **parts: Any) -> Image.Image:
        drawn.append(parts["places"])
        return whole(image, **parts)

    monkeypatch.setattr("opticnerve.cli.picture.draw_picture", draw)
    code, _, _ = opticnerve(
        *("compress", photos / "a.png", "--picture", "--out", tmp_path / "t", "--method.version", version),
        *("--tiling", "plain", "--tiling.height-px", "32", "--tiling.width-px", "64"),
    )
    assert code == 0
    assert drawn == [[Grid(2, 4)]]


def test_pictures_of_an_earlier_run_are_not_taken_for_images(opticnerve: Run, photos: Path):
    line = ("compress", photos, "--picture", "--out", photos, "--json")
    opticnerve(*line)
    _, out, _ = opticnerve(*line)
    assert json.loads(out)["summary"] == {"done": 2, "kept": 2, "failed": 0}
    _, out, _ = opticnerve("compress", photos / "a.png.tokens.png", "--out", photos, "--json")
    assert json.loads(out)["summary"] == {"done": 1, "kept": 0, "failed": 0}


def test_all_methods_are_compared(opticnerve: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    line = ("compress", photos, "--all-methods", "--llm-dim", "128")
    code, out, _ = opticnerve(*line)
    assert code == 0
    assert all(name in out for name in METHODS)
    assert "All methods on 2 images together" in out
    assert "weights are random, seed 0" in out
    assert not (tmp_path / "tokens").exists()
    code, out, _ = opticnerve(*line, "--json")
    rows = {row["method"]: row for row in json.loads(out)["methods"]}
    assert list(rows) == list(METHODS)
    assert rows["linear"]["ratio"] == 1
    assert rows["pixel_shuffle"]["num_params"] > 0


def test_a_method_that_does_not_fit_has_its_reason_beside_the_others(opticnerve: Run, photos: Path):
    (photos / "bad.png").touch()
    code, out, err = opticnerve(
        *("compress", photos, "--all-methods", "--llm-dim", "128", "--tiling", "plain", "--tiling.height-px", "24")
    )
    assert code == 1
    assert "pixel_shuffle does not fit: cannot merge a 3 x 4 grid by 2" in out
    assert "1 of 3 images failed" in err


def test_a_spec_file_names_the_connector(opticnerve: Run, photos: Path, tmp_path: Path):
    spec = tmp_path / "spec.yaml"
    spec.write_text("method: pool\nfactor: 4\n")
    code, out, _ = opticnerve("compress", photos, "--spec", spec, "--out", tmp_path / "t", "--json")
    assert code == 0
    assert json.loads(out)["images"][0]["ratio"] == 16


def test_a_connector_of_several_levels_reads_as_many_layers(opticnerve: Run, photos: Path, tmp_path: Path):
    line = ("compress", photos, "--method", "token_packer", "--out", tmp_path / "t", "--json")
    code, out, _ = opticnerve(*line)
    assert code == 0
    assert json.loads(out)["encoder"]["layers"] == [-4, -3, -2, -1]
    code, out, _ = opticnerve(*line, "--layers", "1,2,3,4")
    assert json.loads(out)["encoder"]["layers"] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "pol"], 'unknown method "pol". Did you mean pool'),
        (["--method.factr", "2"], 'unknown option of pixel_shuffle "factr". Did you mean factor'),
        (["--method.factor", "2.5"], "pixel_shuffle, factor: Input should be a valid integer"),
        (["--tiling", "intervl"], 'unknown tiling "intervl". Did you mean internvl'),
        (["--tiling.max-tils", "2"], 'unknown option of internvl "max_tils". Did you mean max_tiles'),
        (["--methdo", "pool"], "Unknown option: --methdo. Did you mean --method?"),
        (
            ["--method.factor", "3"],
            "cannot merge a 4 x 4 grid by 3: both sides must be multiples of 3. Factors that fit",
        ),
        (["--encoder", "such"], 'there is no encoder "such"'),
        (["--scales", "0"], "S2 needs scales above 0"),
        (["--scales", "nan"], "--scales needs numbers between commas"),
        (["--scales", "1,inf"], "--scales needs numbers between commas"),
        (["--scales", "1.3"], "are no whole pixels: choose a scale such as 1.5 or 2"),
        (["--seed", "x"], "--seed"),
        (["--spec", "none.yaml"], "--spec none.yaml: No such file"),
        (["--spec", "none.yaml", "--method", "pool"], "--spec and --method both name a connector"),
        (["--all-methods", "--picture"], "--all-methods draws no pictures"),
        (["--model", "pool", "--method", "ldpv2"], "--model brings encoder, tiling, scales and connector along"),
        (["--model", "pool", "--scales", "1,2"], "--model brings encoder, tiling, scales and connector along"),
        (["--model", "pool", "--all-methods"], "--model brings encoder, tiling, scales and connector along"),
        (["--model", "nobody"], 'there is no model "nobody"'),
        (["--all-methods", "--method.factor", "2"], "--all-methods takes every method as it is"),
        (["--method.factor"], "--method.factor needs a value"),
        (["--llm-dim", "0"], "widths must be at least 1"),
        (["--method", "token_packer", "--layers", "1"], "reads 4 layers of the encoder"),
        (
            ["--method", "qformer", "--tiling", "anyres"],
            'learned queries lie nowhere: set the tiling\'s merge="flat" and has_newline=False',
        ),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(
    opticnerve: Run, photos: Path, tmp_path: Path, flags: list[str], message: str
):
    code, out, err = opticnerve("compress", photos, "--out", tmp_path / "t", *flags)
    assert code == 2
    assert out == ""
    assert err.startswith("opticnerve: ")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("t/*"))


def test_brackets_in_a_name_are_no_markup(opticnerve: Run, tmp_path: Path):
    Image.new("RGB", (32, 32)).save(tmp_path / "[b]x.png")
    _, out, _ = opticnerve("compress", tmp_path / "[b]x.png", "--out", tmp_path / "t")
    assert "[b]x.png" in out


def test_a_folder_without_images_is_a_mistake(opticnerve: Run, tmp_path: Path):
    code, _, err = opticnerve("compress", tmp_path)
    assert code == 2
    assert "the folder holds no images" in err


def test_a_full_disk_is_one_line(opticnerve: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise StoreError("cannot write t/a.png.safetensors: the disk is full. Free some space and run again")

    monkeypatch.setattr("opticnerve.encode.job.write_tokens", full)
    code, _, err = opticnerve("compress", photos, "--out", tmp_path / "t")
    assert code == 2
    assert "the disk is full" in err
    assert err.count("\n") == 1


def test_ctrl_c_is_one_line_and_exit_code_130(
    opticnerve: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = Job.run

    def interrupted(job: Job, paths: list[Path]):
        yield next(whole(job, paths))
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "run", interrupted)
    code, out, err = opticnerve("compress", photos, "--out", tmp_path / "t")
    assert (code, out) == (130, "")
    assert "interrupted: 1 of 2 images are done and kept; the same command goes on from there" in err
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["a.png.safetensors"]


def test_a_bug_keeps_its_traceback(opticnerve: Run, photos: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("opticnerve.data.find_images", broken)
    with pytest.raises(ZeroDivisionError):
        opticnerve("compress", photos)
