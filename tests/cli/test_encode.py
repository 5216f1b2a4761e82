"""`opticnerve encode` from the command line: what it prints, and every wrong flag as one line."""

import json
import re
from pathlib import Path

import pytest

from encode.pictures import folder_of
from opticnerve.cli import run

SMALL = ["--tiling.tile-px", "32", "--tiling.max-tiles", "4", "--llm-dim", "24", "--workers", "0", "--shard-size", "4"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "photos", 5)


def command(photos: Path, out: Path, *more: str) -> int:
    return run(["encode", str(photos), "--out", str(out), *SMALL, *more])


def test_it_says_what_stands_in_the_folder_and_goes_on(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(photos, out) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: 5 images, 0 skipped.\nThis run: 5 images, ")
    assert said.err == "opticnerve: 5 pictures, 2 shards\n"
    assert "The connector's weights are random, seed 0: the tokens mean nothing yet. Give --model" in said.out
    assert command(photos, tmp_path / "features", "--keep", "features") == 0
    assert "random" not in capsys.readouterr().out
    assert command(photos, out) == 0
    said = capsys.readouterr()
    assert "This run" not in said.out
    assert said.err == "opticnerve: 5 pictures, 2 shards; 5 are done or another process's\n"
    assert run(["encode", "verify", str(out)]) == 0
    assert "All checksums and counts are right; the numbers of 5 images were read." in capsys.readouterr().out


def test_json_is_one_document(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(photos, tmp_path / "out", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["num_images"], summary["done"]["num_images"], summary["num_skipped"]) == (5, 5, 0)
    assert run(["encode", "verify", str(tmp_path / "out"), "--json", "--sample", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["faults"], found["num_images"], found["num_read"]) == ([], 5, 2)


def test_skipped_pictures_are_named_as_they_are_met(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(25):
        (photos / f"bad{index:02}.png").write_bytes(f"bad {index}".encode())
    assert command(photos, tmp_path / "out", "--max-skipped", "100%") == 0
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if "skipped bad" in line]
    assert lines[0].startswith("opticnerve: skipped bad00.png: not an image in a known format")
    assert len(lines) == 20
    assert lines[-1].endswith("(the others are named in skipped.parquet)")
    assert "5 images, 25 skipped." in said.out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--max-skipped", "many"], '--max-skipped needs a share such as 1% or 0.01, got "many"'),
        (["--max-skipped", "120%"], '--max-skipped is a share from 0 to 100%, got "120%"'),
        (["--address", "auto"], "--address is that of a Ray cluster: add --engine ray"),
        (["--model", "pool"], "--model brings encoder, tiling, scales and connector along: leave out their flags"),
        (["--method", "pixel_shufle"], 'unknown method "pixel_shufle". Did you mean pixel_shuffle'),
        (["--dtype", "fp8"], "fp8"),
        (["--max-skipped", "0"], "1 of 6 pictures were skipped, more than max-skipped 0 allows"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    (photos / "bad.png").write_bytes(b"bad")
    assert command(photos, tmp_path / "out", *more) == 2
    errors = capsys.readouterr().err.splitlines()
    assert said in errors[-1]


@pytest.mark.parametrize("more", [["--llm-dim", "24"], ["--seed", "1"], ["--method", "mlp"], ["--scales", "1,2"]])
def test_what_a_model_brings_along_cannot_be_given_too(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert run(["encode", str(photos), "--out", str(tmp_path / "out"), "--model", "pool", *more]) == 2
    assert "--model brings encoder, tiling, scales and connector along" in capsys.readouterr().err


def test_a_source_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["encode", str(tmp_path / "nothing.tar"), "--out", str(tmp_path / "out")]) == 2
    assert re.match(r"opticnerve: .*nothing\.tar: no such file or folder\. To encode: ", capsys.readouterr().err)


def test_a_folder_that_cannot_be_made_is_one_line(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(photos, photos / "0000.png" / "out") == 2
    assert "cannot be used for output" in capsys.readouterr().err
