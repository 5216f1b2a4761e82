"""Inkling: no encoder; pixels are folded into channels step by step."""

import math
from itertools import combinations, pairwise

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts.sequential import named
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import LLM, Activation, BlockSpec, Linear, Merge, MergeFrames, Norm


def _read(config: Config, shapes: Shapes) -> Reading:
    """Read Inkling's hierarchical MLP.

    The features are pixels, folded once: cells of as many pixels a side as the first layer folds, (row, column, colour)
    slowest to fastest, on the grid of these cells; a still image has one frame, which counts for both of a pair.
    """
    del shapes
    patch, frames, colours, layers = (
        int(config.get(f"vision_config.{one}"))
        for one in ("patch_size", "temporal_patch_size", "num_channels", "num_hidden_layers")
    )
    scales = _scales(patch=patch, frames=frames, colours=colours, layers=layers)
    cell = scales[1][1] // scales[0][1]
    blocks: list[BlockSpec] = []
    for layer, ((time, px, _), (next_time, next_px, dim)) in enumerate(pairwise(scales), start=1):
        if layer > 1 and next_px > px:
            blocks.append(Merge(rows=next_px // px, cols=next_px // px))
        if next_time > time:
            blocks.append(MergeFrames(frames=next_time // time, still="repeat"))
        blocks.append(Linear(dim=dim if layer < layers else LLM, has_bias=False))
        blocks += (Norm(norm="rms", eps=1e-6), Activation()) if layer < layers else (Norm(norm="rms", eps=1e-6),)
    return Reading(
        spec=ConnectorSpec(name="inkling", blocks=tuple(blocks)),
        vision_dim=colours * cell**2,
        llm_dim=int(config.get("vision_config.text_hidden_size")),
        views=Views(policy=f"native size, in pixels of patches of {patch} px", patch_px=cell),
    )


def _scales(*, patch: int, frames: int, colours: int, layers: int) -> list[tuple[int, int, int]]:
    """Plan which frames, pixels a side and channels a token stands for before the first layer and after each.

    A token first grows in space, prime by prime, then in time; the layers take those sizes that lie nearest to equal
    steps of their logarithm. The published formula makes tokens of several frames 64 times as wide as it means to; that
    matters only where layers follow, since the width after the last one is the LLM's.
    """
    sides = _products(patch)
    scales = [
        (1, 1, colours),
        *((1, px, 64 * -(-(px**2) * colours // 64)) for px in sides),
        *((time, patch, 64 * patch**2 * colours * time) for time in _products(frames)),
    ]
    sizes = [math.log(time * px**2) for time, px, _ in scales]
    step = math.log(patch**2 * frames * colours) / layers
    ideal = [layer * step for layer in range(layers + 1)]
    if layers >= len(scales):
        picked = [min(range(len(sizes)), key=lambda index, at=at: abs(at - sizes[index])) for at in ideal]
    else:
        ways = combinations(range(len(sizes)), layers + 1)
        picked = list(min(ways, key=lambda way: sum(abs(at - sizes[i]) for at, i in zip(ideal, way, strict=True))))
    picked[0], picked[-1] = 0, len(scales) - 1
    return [scales[index] for index in picked]


def _products(number: int) -> list[int]:
    """Multiply the prime factors up, largest first: 40 gives 5, 10, 20, 40."""
    primes: list[int] = []
    divisor = 2
    while number > 1:
        while number % divisor == 0:
            primes.append(divisor)
            number //= divisor
        divisor += 1
    return [math.prod(primes[: -count - 1 : -1]) for count in range(1, len(primes) + 1)]


def _entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    layers = sum(isinstance(block, Linear) for block in spec.blocks)
    inner = (name for layer in range(layers - 1) for name in (f"layers.linear_{layer}", f"layers.norm_{layer}"))
    return named(spec, *inner, f"layers.linear_{layers - 1}", "final_norm")


def _example() -> Reading:
    """Read transformers' default config with as many layers as there are sizes.

    Its own 24 layers would take the last size more than once, at 614,400 channels.
    """
    vision = {
        "patch_size": 40,
        "temporal_patch_size": 2,
        "num_channels": 3,
        "num_hidden_layers": 5,
        "text_hidden_size": 6144,
    }
    return _read(Config({"vision_config": vision}), {})


INKLING = Layout(
    name="inkling",
    title="Inkling",
    home="transformers",
    method="hierarchical MLP without an encoder",
    read=_read,
    entries=_entries,
    marks=("layers.linear_0.weight", "final_norm.weight"),
    at=("visual.",),
    owns=("layers.", "final_norm."),
    model_types=("inkling_mm_model",),
    example=_example,
)
