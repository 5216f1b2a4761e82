"""Images to stored features: `opticnerve encode` beside what one would write with transformers, in one run.

python benchmarks/encode_images.py --encoder bundled --images 200 --rounds 3
python benchmarks/encode_images.py --encoder bundled --images 200 --rounds 3 --precision bf16
python benchmarks/encode_images.py --encoder vit --images 60 --rounds 1

Every way runs in a process of its own, one after another, round after round; loading the model is not counted. Each
computes in the same precision, and writes the features of all tiles in bfloat16. Memory is the largest sum over a way's
processes of what is theirs alone and their part of what they share.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset

EXAMPLES = Path(__file__).parents[1] / "examples" / "images"
WAYS = ("one at a time", "DataLoader", "opticnerve", "encoder alone")
SIZES = ((1080, 1920), (1500, 2000), (3000, 4000), (480, 640), (1200, 900), (2048, 1536), (768, 1024), (1600, 720))
"""Heights and widths, in pixels, in turns."""
TILE_PX = {"bundled": 256, "vit": 224}


def draw_pictures(folder: Path, *, count: int) -> None:
    """Draw photographs (JPEG) and pages (PNG) of mixed sizes, the same in every run.

    Args:
        folder: where they go.
        count: how many; every fourth is a page.
    """
    photos = [Image.open(path).convert("RGB") for path in sorted(EXAMPLES.glob("*.jpg"))]
    page = Image.open(EXAMPLES / "page.png").convert("RGB")
    random = np.random.default_rng(0)
    for index in range(count):
        height, width = SIZES[index % len(SIZES)]
        if index % 4 == 3:
            sheet = page.rotate(90 * (index % 3), expand=True).resize((width, height))
            ImageDraw.Draw(sheet).text((width // 2, height - 20), str(index), fill="black")  # no page is another's copy
            sheet.save(folder / f"{index:04d}.png")
            continue
        photo = photos[index % len(photos)]
        side = int(min(photo.size) * random.uniform(0.5, 1))
        left, top = (int(random.integers(0, extent - side + 1)) for extent in photo.size)
        cut = photo.crop((left, top, left + side, top + side)).resize((width, height), Image.Resampling.BICUBIC)
        grain = random.normal(0, 6, (height, width, 1))
        noisy = np.clip(np.asarray(cut.filter(ImageFilter.SHARPEN)) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{index:04d}.jpg", quality=90)


def make_vit(folder: Path) -> None:
    """Write a ViT-B/16 of transformers with random weights, and its image processor's settings."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    ViTModel(ViTConfig(), add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor().save_pretrained(folder)


class Tiles(Dataset[torch.Tensor]):
    """The tiles of each picture, by transformers' image processor for InternVL."""

    def __init__(self, paths: Sequence[Path], encoder: Any, tile_px: int) -> None:  # noqa: ANN401 - an Encoder
        from transformers import GotOcr2ImageProcessorPil

        size = {"height": tile_px, "width": tile_px}
        self.paths = paths
        self.processor: Any = GotOcr2ImageProcessorPil(
            size=size,
            crop_to_patches=True,
            min_patches=1,
            max_patches=12,
            image_mean=list(encoder.mean),
            image_std=list(encoder.std),
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(self.paths[index]).convert("RGB")
        return self.processor(images=image, return_tensors="pt")["pixel_values"]


def by_hand(
    paths: Sequence[Path],
    encoder: Any,  # noqa: ANN401 - an Encoder
    out: Path,
    *,
    tile_px: int,
    workers: int,
) -> int:
    """Encode each picture's tiles for themselves, and write a file for each.

    Args:
        paths: the pictures.
        encoder: normalised tiles to features.
        out: where the files go.
        tile_px: side of a tile.
        workers: of a DataLoader; 0 goes through the pictures without one.

    Returns:
        How many tiles there were.
    """
    dataset = Tiles(paths, encoder, tile_px)
    items: Iterator[torch.Tensor] = (
        iter(DataLoader(dataset, batch_size=None, num_workers=workers))
        if workers
        else (dataset[index] for index in range(len(dataset)))
    )
    num_tiles = 0
    for path, tiles in zip(paths, items, strict=True):
        with torch.inference_mode():
            features = encoder(tiles)
        save_file({"features": features.to(torch.bfloat16).contiguous()}, out / f"{path.name}.safetensors")
        num_tiles += len(tiles)
    return num_tiles


def encode_only(encoding: Any, *, num_tiles: int, tile_px: int) -> None:  # noqa: ANN401 - an Encoding
    """Run the encoder as opticnerve does, in full batches, a core each, and do nothing else.

    Args:
        encoding: the encoder.
        num_tiles: how many; the time does not depend on their pixels.
        tile_px: side of a tile.
    """
    from opticnerve.encode.lanes import InOrder, Lanes

    pixels = torch.randint(256, (encoding.tiles_per_call, 3, tile_px, tile_px), dtype=torch.uint8)
    with Lanes(torch.get_num_threads()) as lanes:
        calls: InOrder[int, torch.Tensor] = InOrder(lanes)
        for first in range(0, num_tiles, len(pixels)):
            list(calls.put(first, partial(encoding.see, pixels[: num_tiles - first])))
        list(calls.flush())


def run_way(given: argparse.Namespace) -> dict[str, Any]:
    """Run one way, and measure from the first picture to the last file."""
    from opticnerve.encode.run import Limits, encode_pictures
    from opticnerve.encode.settings import EncodeSettings
    from opticnerve.views import ViewSettings

    way, pictures, out, workers = given.way, Path(given.pictures), Path(given.out), given.workers
    paths = sorted(pictures.iterdir())
    settings = EncodeSettings(
        views=ViewSettings(encoder=given.encoder), keep="features", precision=given.precision, device="cpu"
    )
    encoding = settings.load()
    tiling = encoding.sight.tiling
    num_tiles = sum(tiling.plan(*reversed(Image.open(path).size)).num_tiles for path in paths)
    before = time.process_time()
    start = time.perf_counter()
    if way == "encoder alone":
        encode_only(encoding, num_tiles=num_tiles, tile_px=given.tile_px)
    elif way == "opticnerve":
        EncodeSettings.load = lambda _: encoding  # as for the others: loading is not counted
        num_tiles = encode_pictures([str(pictures)], out, settings, limits=Limits(num_workers=workers)).done.num_tiles
    else:
        num_workers = workers if way == "DataLoader" else 0
        with torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bf16"):
            num_tiles = by_hand(paths, encoding.encoder, out, tile_px=given.tile_px, workers=num_workers)
    seconds = time.perf_counter() - start
    written = sum(path.stat().st_size for path in out.rglob("*.safetensors"))
    return {"seconds": seconds, "images": len(paths), "tiles": num_tiles, "cpu_before": before, "bytes": written}


def watched(command: Sequence[str]) -> tuple[dict[str, Any], int]:
    """Run a way in a process of its own, and watch how much memory it and its workers take."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    parent, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        total = 0
        try:
            for one in [parent, *parent.children(recursive=True)]:
                total += one.memory_full_info().pss
        except psutil.Error:
            continue
        peak = max(peak, total)
        time.sleep(0.25)  # looking takes a few milliseconds of a core
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    text = cast("Any", process.stdout).read()
    result: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**result, "cpu_seconds": used - result["cpu_before"]}, peak


def main() -> None:
    """Measure all ways, and write what was seen."""
    given = _parse()
    if given.way:
        torch.set_num_threads(given.threads)
        print(json.dumps(run_way(given)))
        return
    given.load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        pictures, vit = Path(scratch, "pictures"), Path(scratch, "vit")
        pictures.mkdir()
        draw_pictures(pictures, count=given.images)
        if given.encoder == "vit":
            make_vit(vit)
        found: dict[str, list[tuple[dict[str, Any], int]]] = {way: [] for way in WAYS}
        for turn in range(given.rounds):
            for way in WAYS:
                out = Path(scratch, f"out-{turn}-{WAYS.index(way)}")
                out.mkdir()
                encoder = str(vit) if given.encoder == "vit" else given.encoder
                own = ["--way", way, "--pictures", str(pictures), "--out", str(out), "--encoder", encoder]
                rest = ["--tile-px", str(TILE_PX[given.encoder]), "--threads", str(given.threads)]
                last = ["--workers", str(given.workers), "--precision", given.precision]
                command = [sys.executable, __file__, *own, *rest, *last]
                found[way].append(watched(command))
                print(f"{way}: {found[way][-1][0]['seconds']:.1f} s, {found[way][-1][1] / 2**20:.0f} MiB", flush=True)
    _report(given, found)


def _report(given: argparse.Namespace, found: dict[str, list[tuple[dict[str, Any], int]]]) -> None:
    ours = [result["seconds"] for result, _ in found["opticnerve"]]
    rows = {
        way: {
            "seconds": statistics.median(result["seconds"] for result, _ in runs),
            "cpu_seconds": statistics.median(result["cpu_seconds"] for result, _ in runs),
            "images": runs[0][0]["images"],
            "bytes": runs[0][0]["bytes"],
            "tiles": runs[0][0]["tiles"],
            "peak_mib": round(statistics.median(peak for _, peak in runs) / 2**20),
            "times_as_long": statistics.median(
                result["seconds"] / mine for (result, _), mine in zip(runs, ours, strict=True)
            ),
        }
        for way, runs in found.items()
    }
    for way, row in rows.items():
        print(
            f"{way:16} {row['seconds']:8.1f} s  {row['times_as_long']:.2f} x opticnerve's  "
            f"{row['cpu_seconds']:.1f} s of all cores  {row['peak_mib']} MiB"
        )
    if given.json:
        path = Path(given.json)
        known = json.loads(path.read_text()) if path.is_file() else {}
        known[f"{given.encoder} {given.precision}"] = {
            "ways": rows,
            "rounds": given.rounds,
            "threads": given.threads,
            "workers": given.workers,
            "commit": given.commit,
            "cpu": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "date": datetime.now(UTC).date().isoformat(),
            "load_before": given.load,
            "torch": torch.__version__,
        }
        path.write_text(json.dumps(known, indent=2) + "\n")


def processor() -> str:
    """Name the processor, where Linux says it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--encoder", default="bundled", help="bundled, or vit: a ViT-B/16 with random weights")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of torch in the main process")
    parser.add_argument("--workers", type=int, default=1, help="processes that decode, where a way has some")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="that encoders compute in")
    parser.add_argument("--json", default="", help="file to write the results into")
    parser.add_argument("--commit", default="", help="of the measured code, for the record")
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    parser.add_argument("--pictures", default="", help=argparse.SUPPRESS)
    parser.add_argument("--out", default="", help=argparse.SUPPRESS)
    parser.add_argument("--tile-px", type=int, default=256, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
