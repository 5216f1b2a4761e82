"""Grounds and outlines of the scenes."""

from __future__ import annotations

import math
import random

import numpy as np

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in px."""


def draw_background(rng: random.Random, height: int, width: int, *, plain: bool) -> np.ndarray:
    """Draw a ground: white, or one colour with a gradient, noise, both or neither; uint8."""
    if plain:
        return np.full((height, width, 3), 255, dtype=np.uint8)
    base = np.array([rng.randint(0, 255) for _ in range(3)], dtype=np.float32)
    if rng.random() < 0.6:  # pale or dark grounds are more common than saturated ones
        base = base * 0.25 + (190 if rng.random() < 0.7 else 0)
    ground = np.broadcast_to(base, (height, width, 3))
    if rng.random() < 0.5:
        change = np.array([rng.uniform(-70, 70) for _ in range(3)], dtype=np.float32)
        angle = rng.uniform(0, 2 * math.pi)
        y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * math.sin(angle)
        x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None] * math.cos(angle)
        ground = ground + (y + x)[..., None] * change
    if rng.random() < 0.4:
        noise = np.random.default_rng(rng.getrandbits(32)).standard_normal((height, width, 1), dtype=np.float32)
        ground = ground + noise * rng.uniform(2, 18)
    return np.clip(ground, 0, 255).astype(np.uint8)


def trace_polygon(kind: str, box: Box) -> list[tuple[float, float]]:
    """List the corners of a shape that fills a box."""
    left, top, right, bottom = box
    x, y, r = (left + right) / 2, (top + bottom) / 2, (right - left) / 2
    if kind == "triangle":
        return [(x, top), (right, bottom), (left, bottom)]
    if kind == "diamond":
        return [(x, top), (right, y), (x, bottom), (left, y)]
    if kind == "star":
        radii = (r, 0.42 * r) * 5
        return [(x + s * math.sin(i * math.pi / 5), y - s * math.cos(i * math.pi / 5)) for i, s in enumerate(radii)]
    a = r / 3  # plus
    xs = (-a, a, a, r, r, a, a, -a, -a, -r, -r, -a)
    ys = (-r, -r, -a, -a, a, a, r, r, a, a, -a, -a)
    return [(x + dx, y + dy) for dx, dy in zip(xs, ys, strict=True)]
