"""Plans for the sizes that images really have: a folder's headers are read, and nothing else."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from opticnerve.errors import ImageError, OpticNerveError, PlanError
from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand, read_size
from opticnerve.planner.device import Device
from opticnerve.planner.model import VisionLanguageModel
from opticnerve.planner.outcome import Plan

PERCENTILES: Mapping[str, float] = {"p50": 0.5, "p95": 0.95, "max": 1.0}
"""Which images of a folder are planned for, by their visual tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Sizes of images, each with how many have it."""

    counts: Mapping[tuple[int, int], int]
    """From height and width in pixels to the number of images."""
    skipped: tuple[str, ...] = ()
    """Files that cannot be read, one line each."""

    @property
    def num_images(self) -> int:
        """Images whose size is known."""
        return sum(self.counts.values())

    @property
    def typical(self) -> tuple[int, int]:
        """Height and width of the image at the 95th percentile by pixels (nearest rank)."""
        order = sorted(self.counts, key=lambda size: (size[0] * size[1], size))
        return _at(0.95, order, self.counts)


@dataclass(frozen=True, kw_only=True, slots=True)
class SizePlans:
    """Plans for a single size, or for a folder's median, 95th percentile and largest image by visual tokens."""

    named: Mapping[str, Plan]
    """"image", or the keys of `PERCENTILES`."""
    tokens: Mapping[int, int]
    """From visual tokens of an image to the number of images that have as many."""
    skipped: tuple[str, ...]
    """Images without a plan, one line each."""

    @property
    def num_images(self) -> int:
        """Images that are planned for."""
        return sum(self.tokens.values())

    @property
    def mean_tokens(self) -> float:
        """Visual tokens of an image, on average."""
        return sum(tokens * count for tokens, count in self.tokens.items()) / self.num_images

    @property
    def summary(self) -> str:
        """One line: how many images, and their visual tokens."""
        named = ", ".join(f"{name} {plan.look.num_tokens:,}" for name, plan in self.named.items())
        return f"{self.num_images:,} images: visual tokens of an image {self.mean_tokens:,.0f} on average, {named}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        return {
            "plans": {name: plan.to_dict() for name, plan in self.named.items()},
            "num_images": self.num_images,
            "mean_tokens": self.mean_tokens,
            "tokens": {str(tokens): count for tokens, count in sorted(self.tokens.items())},
            "skipped": list(self.skipped),
        }


def read_sizes(text: str) -> Sizes:
    """Read a size, or the sizes of all images below a folder.

    Args:
        text: WIDTHxHEIGHT, or a folder or image file, of which only headers are read.

    Raises:
        PlanError: it is neither, or no image below the folder can be read.
    """
    from opticnerve.data import find_images, image_size

    if not Path(text).exists():
        return Sizes(counts={read_size(text): 1})
    counts: Counter[tuple[int, int]] = Counter()
    skipped: list[str] = []
    try:
        paths = find_images([text])
    except OpticNerveError as error:
        raise PlanError(str(error)) from error
    for path in paths:
        try:
            counts[image_size(path)] += 1
        except ImageError as error:
            skipped.append(str(error))
    if not counts:
        raise PlanError(f"no image below {text} can be read ({len(skipped)} tried; the first: {skipped[0]})")
    return Sizes(counts=counts, skipped=tuple(skipped))


def plan_sizes(model: VisionLanguageModel, device: Device, demand: Demand, sizes: Sizes) -> SizePlans:
    """Plan for the median, the 95th percentile and the largest of some images by visual tokens, or for the only size.

    Args:
        model: encoder, tiling, connector and LLM.
        device: where it runs.
        demand: what is asked of it; the images of a prompt are alike.
        sizes: of the images.

    Returns:
        Each plan is that of an image that is there (nearest rank).

    Raises:
        OpticNerveError: the model takes none of the sizes; where it takes some, the others are skipped.
    """
    tokens: dict[tuple[int, int], int] = {}
    skipped: list[str] = list(sizes.skipped)
    refused: OpticNerveError | None = None
    for size, count in sizes.counts.items():
        try:
            tokens[size] = model.look(*size).num_tokens
        except OpticNerveError as error:
            refused = error
            skipped.append(f"{count} of {size[1]} x {size[0]} px (width x height): {error}")
    if refused and not tokens:
        raise refused
    chosen = {"image": next(iter(tokens))} if sizes.num_images == 1 else dict(_ranked(tokens, sizes))
    histogram: Counter[int] = Counter()
    for size, num in tokens.items():
        histogram[num] += sizes.counts[size]
    named = {name: make_plan(model, device, demand, size=size) for name, size in chosen.items()}
    return SizePlans(named=named, tokens=histogram, skipped=tuple(skipped))


def _ranked(tokens: Mapping[tuple[int, int], int], sizes: Sizes) -> Iterator[tuple[str, tuple[int, int]]]:
    """Find the sizes at the percentiles, by nearest rank."""
    order = sorted(tokens, key=lambda size: (tokens[size], size))
    for name, share in PERCENTILES.items():
        yield name, _at(share, order, sizes.counts)


def _at(share: float, order: Sequence[tuple[int, int]], counts: Mapping[tuple[int, int], int]) -> tuple[int, int]:
    """Return the size at a share of the images in order."""
    wanted = max(math.ceil(share * sum(counts[size] for size in order)), 1)
    reached = accumulate(counts[size] for size in order)
    return next(size for size, seen in zip(order, reached, strict=True) if seen >= wanted)
