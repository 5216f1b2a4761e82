"""`opticnerve plan`: what it prints, what it writes, what it refuses."""

import json
from pathlib import Path

import pytest
from PIL import Image

from cli.conftest import Run

SO400M = "google/siglip2-so400m-patch14-384"
HEADLINE = ["plan", "--images", "2000x1500", "--encoder", SO400M, "--llm", "Qwen/Qwen3-4B", "--device", "h100"]


def test_the_first_command_of_the_page_says_tokens_memory_time_and_a_verdict(opticnerve: Run) -> None:
    code, out, err = opticnerve(*HEADLINE, "--method", "pixel_shuffle", "--tiling", "internvl")
    assert (code, err) == (0, "")
    assert "image 2000 x 1500 px (width x height): 13 tiles, 9,477 features -> 2,548 visual tokens (3.72 : 1)" in out
    assert "prompt: 2,648 tokens, 2,548 of them visual (1 image, 100 tokens of text)" in out
    assert "note: pixel_shuffle does not divide 27 x 27 features: planned with --method.odd pad" in out
    assert "memory in bf16: weights 8.3 GiB" in out
    assert "time to first token on h100, 1 prompt: " in out
    assert "16x fewer" in out
    assert "Worth it" in out or "Do not bother" in out


def test_json_has_the_same_numbers(opticnerve: Run) -> None:
    code, out, _ = opticnerve(*HEADLINE, "--batch", 2, "--images-per-prompt", 3, "--json")
    plan = json.loads(out)["plans"]["image"]
    assert code == 0
    assert plan["visual_tokens"] == 3 * 2548
    assert plan["demand"]["batch"] == 2
    assert plan["device"] == "h100"


def test_a_folder_is_planned_by_its_percentiles(opticnerve: Run, tmp_path: Path) -> None:
    for number, side in enumerate((200, 300, 1600)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    code, out, err = opticnerve("plan", "--images", tmp_path, "--device", "t4", "--dtype", "fp16")
    assert code == 0
    assert out.startswith("3 images: visual tokens of an image ")
    assert all(f"\n{name}:\n" in out for name in ("p50", "p95", "max"))
    assert "bad.jpg" in err


def test_a_whole_model_is_planned_by_its_name(opticnerve: Run) -> None:
    code, out, _ = opticnerve("plan", "--images", "1000x800", "--model", "OpenGVLab/InternVL3-8B")
    assert code == 0
    assert "tokens of text around them" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "OpenGVLab/InternVL3-8B", "--encoder", "bundled2"],
            "--model names a whole model: leave out --encod",
        ),
        (["--model", "x", "--budget", "tokens=5"], "--budget and --compare vary the parts of a model"),
        (["--budget", "tokens=5", "--compare"], "--budget and --compare are two questions: ask one of them"),
        (["--out", "x"], "--out is for the plots of --compare and the recipes of --budget"),
        (["--images", "2000"], "an image size is WIDTHxHEIGHT in pixels, such as 2000x1500, or a folder"),
        (["--device", "h1000"], 'there is no device "h1000", nor a file of that name. Nearest: h100'),
        (["--llm", "Qwen3-4BB"], 'LLM "Qwen3-4BB" is not in the catalogue. Nearest'),
        (["--batch", "0"], "a plan needs batch of at least 1, got 0"),
        (["--budget", "tokens=1"], "The nearest has tokens="),
        (["--budget", "token=1"], 'unknown budget "token". Did you mean tokens'),
        (["--method", "pixel_shufle"], 'unknown method "pixel_shufle". Did you mean pixel_shuffle'),
    ],
)
def test_a_mistake_is_one_line(opticnerve: Run, arguments: list[str], message: str) -> None:
    code, out, err = opticnerve("plan", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


def test_what_fits_a_budget_becomes_recipes(opticnerve: Run, tmp_path: Path) -> None:
    code, out, _ = opticnerve("plan", "--images", "1000x800", "--budget", "tokens=300", "--out", tmp_path / "recipes")
    assert code == 0
    assert out.startswith("What fits tokens=300, images of 1000 x 800 px")
    recipes = sorted((tmp_path / "recipes").glob("*.yaml"))
    assert recipes
    assert all(f"written: {path}" in out for path in recipes)
    code, out, _ = opticnerve("plan", "--images", "1000x800", "--budget", "tokens=300", "--json")
    rows = json.loads(out)
    assert [row["plan"]["visual_tokens"] <= 300 for row in rows] == [True] * len(recipes)


def test_methods_side_by_side_are_printed_and_drawn(opticnerve: Run, tmp_path: Path) -> None:
    code, out, _ = opticnerve("plan", "--images", "1000x800", "--compare", "--out", tmp_path / "sweep")
    assert code == 0
    assert out.startswith("What nothing beats in time and detail, of ")
    with Image.open(tmp_path / "sweep" / "sweep.png") as image:
        assert image.size[0] > 500
    assert "<script" in (tmp_path / "sweep" / "sweep.html").read_text()
    assert not list((tmp_path / "sweep").glob(".*"))
