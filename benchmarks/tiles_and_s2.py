"""Ours against the published way, interleaved in one process: A B A B, medians. `python benchmarks/tiles_and_s2.py`."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from s2wrapper import forward as published_s2
from torch.profiler import ProfilerActivity, profile

from opticnerve.encoders import load_encoder
from opticnerve.multiscale import S2, s2_features
from opticnerve.tiling import InternVLTiling, apply

ROUNDS = 15
ROOT = Path(__file__).parents[1]


def compare(title: str, published: Callable[[], object], ours: Callable[[], object]) -> None:
    """Time two ways of doing the same, round after round, and print the medians and quartiles."""
    times: dict[str, list[float]] = {"published": [], "ours": []}
    for way in (published, ours):
        way()
    for _ in range(ROUNDS):
        for name, way in (("published", published), ("ours", ours)):
            start = time.perf_counter()
            way()
            times[name].append(1000 * (time.perf_counter() - start))
    lines = {name: statistics.quantiles(values, n=4) for name, values in times.items()}
    ratio = lines["published"][1] / lines["ours"][1]
    shown = ", ".join(f"{name} {q[1]:.1f} ms ({q[0]:.1f}-{q[2]:.1f})" for name, q in lines.items())
    print(f"{title}: {shown}: {ratio:.2f}x")


def peak_bytes(way: Callable[[], object]) -> int:
    """Return the most bytes that are allocated at once while it runs."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        way()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def pillow_tiles(image: Image.Image) -> np.ndarray:
    """InternVL's own way: Pillow resizes, crops tile by tile, and makes the thumbnail."""
    big = image.resize((4 * 448, 3 * 448), Image.Resampling.BICUBIC)
    boxes = [(x * 448, y * 448, x * 448 + 448, y * 448 + 448) for y in range(3) for x in range(4)]
    tiles = [big.crop(box) for box in boxes] + [image.resize((448, 448), Image.Resampling.BICUBIC)]
    return np.stack([np.asarray(tile) for tile in tiles])


@torch.inference_mode()
def main() -> None:
    """Run both comparisons on one thread."""
    torch.set_num_threads(1)
    image = Image.open(ROOT / "examples/images/retina.jpg").convert("RGB").resize((2000, 1500))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    plan = InternVLTiling().plan(1500, 2000)
    assert plan.num_tiles == 13
    compare("2000 x 1500 px to 13 tiles", lambda: pillow_tiles(image), lambda: apply(plan, pixels))
    encoder, images = load_encoder("bundled"), torch.randn(2, 3, 256, 256)
    for scales in ((1, 2), (1, 2, 3)):
        published = partial(published_s2, encoder, images, scales=list(scales))
        for views_per_call in ("scale", "all", 8):
            spec = S2(scales=scales, views_per_call=views_per_call)
            ours = partial(s2_features, spec, encoder, images, grid=encoder.grid)
            print(f"S2: largest difference {(published() - ours()).abs().max():.2g}", end=", ")
            print(f"peak memory {peak_bytes(ours) / peak_bytes(published):.2f}x of the published")
            compare(f"S2 at {scales}, batch 2, views_per_call={views_per_call}", published, ours)


if __name__ == "__main__":
    main()
