"""How many times faster training on stored features is than training on images: the same steps, the same losses.

python scripts/from_tokens_speed.py --images 32 --steps 4 --rounds 2

A LLaVA-format data set of rendered pages is written, and encoded with the bundled encoder. Then a stage trains the
connector (and the LLM, with --llm-too) from the images and from the features by turns: A B A B. The time of a step is
that of a whole optimizer step, decoding or reading included, without model loading and without the first step.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from opticnerve.data import IMAGE
from opticnerve.data.reading import ReadingSource
from opticnerve.encode.run import Limits, encode_pictures
from opticnerve.encode.settings import EncodeSettings
from opticnerve.train.recipe import Recipe
from opticnerve.train.run import run
from opticnerve.views import ViewSettings

WAYS = ("images", "features")


def write_data(folder: Path, *, count: int, height_px: int, width_px: int) -> None:
    """Render pages as JPEG files, and write their questions as LLaVA-format JSON.

    Args:
        folder: gets images/ and data.json.
        count: pages.
        height_px: of the files.
        width_px: of the files.
    """
    source = ReadingSource(num_samples=count, level=0.5)
    records: list[dict[str, Any]] = []
    (folder / "images").mkdir()
    for index in range(count):
        sample = source[index]
        page = Image.fromarray(sample.decode(0).permute(1, 2, 0).numpy())
        page.resize((width_px, height_px)).save(folder / "images" / f"{index:05d}.jpg", quality=90)
        turns = [{"from": {"user": "human"}.get(one.role, "gpt"), "value": one.content} for one in sample.messages]
        assert any(IMAGE in turn["value"] for turn in turns)
        records.append({"id": str(index), "image": f"{index:05d}.jpg", "conversations": turns})
    (folder / "data.json").write_text(json.dumps(records))


def encode(folder: Path, options: argparse.Namespace) -> float:
    """Encode the images into features.

    Args:
        folder: has images/ and gets stored/.
        options: of the command line.

    Returns:
        Seconds, loading the encoder included.
    """
    began = time.perf_counter()
    settings = EncodeSettings(views=ViewSettings(tiling=options.tiling), keep="features", dtype=options.dtype)
    encode_pictures([str(folder / "images")], folder / "stored", settings, limits=Limits(num_workers=0))
    return time.perf_counter() - began


class Steps:
    """Hears of each step, and notes its time and its loss."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.losses: list[float] = []

    def started(self, report: object) -> None:
        """Hear what is trained."""
        del report

    def stepped(self, report: Any) -> None:  # noqa: ANN401
        """Hear of a step."""
        self.times.append(time.perf_counter())
        self.losses.append(report.loss)

    def said(self, line: str) -> None:
        """Hear something else."""
        del line

    @property
    def seconds(self) -> list[float]:
        """Time of each step but the first."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


def recipe_of(folder: Path, way: str, options: argparse.Namespace) -> Recipe:
    """Make the recipe of one way.

    Args:
        folder: of the data.
        way: one of `WAYS`.
        options: of the command line.
    """
    data = {"kind": "llava", "path": str(folder / "data.json"), "images": str(folder / "images")}
    stage = {
        "name": "train",
        "open": {"connector": 1e-3, **({"llm": 1e-3} if options.llm_too else {})},
        "data": [{**data, "stored": str(folder / "stored")} if way == "features" else data],
        "steps": options.steps + 1,
        "batch_size": options.batch_size,
        "micro_batch_size": options.batch_size,
        "precision": "fp32",
    }
    model = {"llm": "small", "method": "pixel_shuffle", "tiling": options.tiling}
    return Recipe.model_validate(
        {"name": "speed", "source": "this script", "model": model, "stages": [stage], "log_every": 1}
    )


def main(arguments: Sequence[str]) -> None:
    """Measure.

    Args:
        arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 32), ("steps", 4), ("rounds", 2), ("batch-size", 8), ("height", 768)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--tiling", default="plain")
    parser.add_argument("--dtype", choices=("fp32", "fp16", "bf16", "int8"), default="fp32")
    parser.add_argument("--llm-too", action="store_true")
    options = parser.parse_args(arguments)
    found: dict[str, list[Steps]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, count=options.images, height_px=options.height, width_px=options.width)
        seconds = encode(folder, options)
        print(f"encoded {options.images} images in {seconds:.1f} s, once for all epochs")
        for number in range(options.rounds):
            for way in WAYS:
                steps = Steps()
                run(recipe_of(folder, way, options), folder / f"{way}-{number}", progress=steps)
                found[way].append(steps)
    medians = {way: [statistics.median(steps.seconds) for steps in found[way]] for way in WAYS}
    for number in range(options.rounds):
        print(*(f"round {number + 1}, {way}: {medians[way][number]:.3f} s a step" for way in WAYS), sep="; ")
    print("step  loss from images  loss from features")
    for step, (image, feature) in enumerate(zip(*(found[way][0].losses for way in WAYS), strict=True), start=1):
        print(f"{step:4}  {image:16.6f}  {feature:18.6f}")
    whole = {way: statistics.median(medians[way]) for way in WAYS}
    pairs = zip(*(medians[way] for way in WAYS), strict=True)
    ratios = [image / feature for image, feature in pairs]
    print(
        f"images {whole['images']:.3f} s, features {whole['features']:.3f} s a step of {options.batch_size}: "
        f"{whole['images'] / whole['features']:.1f} times faster (rounds: {min(ratios):.1f} to {max(ratios):.1f})"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
