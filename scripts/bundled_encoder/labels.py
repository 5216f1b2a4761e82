"""Scenes to label maps; class 0 is "nothing here" and IGNORE marks places where an answer would be unfair."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from render import Item, Recipe, draw_scene
from torch import Tensor

from opticnerve.data.reading.grounds import Box
from opticnerve.encoders.bundled.model import BundledEncoderModel
from opticnerve.encoders.bundled.probe import ALPHABET, COLORS, KINDS, MAX_WORD

IGNORE = -100
_SYMBOL = {char: index + 1 for index, char in enumerate(ALPHABET)}
_KIND = {kind: index + 1 for index, kind in enumerate(KINDS)}
_COLOR = {color: index + 1 for index, color in enumerate(COLORS)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Images and what they show; cells are 8 px, patches 16 px, glyph cells 8 px high and 4 px wide."""

    pixels: Tensor
    """`(batch, 3, height, width)` float32, normalised."""
    glyphs: Tensor
    """`(batch, height / 8, width / 4)` the character centred here."""
    cell_kind: Tensor
    """`(batch, height / 8, width / 8)`."""
    cell_color: Tensor
    """`(batch, height / 8, width / 8)`."""
    patch_kind: Tensor
    """`(batch, patches)`."""
    patch_color: Tensor
    """`(batch, patches)`."""
    words: Tensor
    """`(batch, patches, 6)` the characters of the word that covers the patch, then 0."""
    boxes: Tensor
    """`(batch, patches, 4)` left, top, right, bottom seen from the patch's centre, in units of 64 px; NaN if none."""


def _span(low: float, high: float, step: int, count: int) -> slice:
    """Cells that an interval touches."""
    return slice(max(0, int(low // step)), max(0, min(count, int(-(-high // step)))))


def _core(low: float, high: float, step: int, count: int, share: float) -> slice:
    """Cells whose centre lies in the middle `share` of an interval, and at least the cell at its middle."""
    middle, half = (low + high) / 2, (high - low) * share / 2
    first = int(np.ceil((middle - half) / step - 0.5))
    last = int(np.floor((middle + half) / step - 0.5))
    at = int(middle // step)
    return slice(max(0, min(first, at)), max(0, min(count, max(last, at) + 1)))


def _is_whole(box: Box, height: int, width: int, share: float = 0.0) -> bool:
    slack_x, slack_y = (box[2] - box[0]) * share + 0.5, (box[3] - box[1]) * share + 0.5
    return box[0] >= -slack_x and box[1] >= -slack_y and box[2] <= width + slack_x and box[3] <= height + slack_y


def label_scene(items: tuple[Item, ...], *, height: int, width: int) -> dict[str, np.ndarray]:
    """Draw the label maps of one scene; keys are the fields of `Batch`."""
    rows, cols = height // 16, width // 16
    glyphs = np.zeros((2 * rows, 4 * cols), dtype=np.int64)
    cell_kind, cell_color = np.zeros((2, 2 * rows, 2 * cols), dtype=np.int64)
    patch_kind, patch_color = np.zeros((2, rows, cols), dtype=np.int64)
    words = np.full((rows, cols, MAX_WORD), IGNORE, dtype=np.int64)
    boxes = np.full((rows, cols, 4), np.nan, dtype=np.float32)
    best = np.zeros((rows, cols))
    for item in items:  # everything touched is unfair until something below names it
        left, top, right, bottom = item.box
        for target, step_y, step_x in ((glyphs, 8, 4), (cell_kind, 8, 8), (cell_color, 8, 8), (patch_kind, 16, 16),
                                       (patch_color, 16, 16)):  # fmt: skip
            if item.text or target is not glyphs:
                area = _span(top, bottom, step_y, target.shape[0]), _span(left, right, step_x, target.shape[1])
                target[area] = IGNORE
    for item in items:
        left, top, right, bottom = item.box
        share = 0.6 if item.text else 0.5
        core = _core(top, bottom, 8, 2 * rows, share), _core(left, right, 8, 2 * cols, 1.0 if item.text else share)
        cell_kind[core], cell_color[core] = _KIND[item.kind], _COLOR[item.color]
        for char, box in zip(item.text, item.glyphs, strict=True):
            if _is_whole(box, height, width, 0.15):
                glyphs[_core(box[1], box[3], 8, 2 * rows, 0.4), _core(box[0], box[2], 4, 4 * cols, 0.4)] = _SYMBOL[char]
        area = _span(top, bottom, 16, rows), _span(left, right, 16, cols)
        ys, xs = np.mgrid[area] * 16.0
        shared_y = np.minimum(ys + 16, bottom) - np.maximum(ys, top)
        shared = shared_y * (np.minimum(xs + 16, right) - np.maximum(xs, left))
        enough = min(64.0, 0.3 * (right - left) * (bottom - top))
        owner = (shared >= enough) & (shared > best[area])
        best[area][owner] = shared[owner]
        patch_kind[area][owner], patch_color[area][owner] = _KIND[item.kind], _COLOR[item.color]
        word = [IGNORE] * MAX_WORD
        if item.text and _is_whole(item.box, height, width, 0.02):
            word = [_SYMBOL[char] for char in item.text] + [0] * (MAX_WORD - len(item.text))
        words[area][owner] = word
        seen = np.array((max(left, 0), max(top, 0), min(right, width), min(bottom, height)))
        centre = np.stack([xs, ys, xs, ys], axis=-1) + 8
        boxes[area][owner] = ((seen - centre) / 64)[owner]
    return {
        "glyphs": glyphs, "cell_kind": cell_kind, "cell_color": cell_color, "patch_kind": patch_kind.ravel(),
        "patch_color": patch_color.ravel(), "words": words.reshape(-1, MAX_WORD), "boxes": boxes.reshape(-1, 4),
    }  # fmt: skip


def to_pixels(image: np.ndarray) -> Tensor:
    """Normalise one image, `(height, width, 3)` uint8, as the encoder wants it."""
    mean, std = BundledEncoderModel.mean[0], BundledEncoderModel.std[0]
    return (torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255 - mean) / std


def collate(scenes: list[tuple[np.ndarray, tuple[Item, ...]]]) -> Batch:
    """Label scenes of one size and stack them."""
    height, width = scenes[0][0].shape[:2]
    labels = [label_scene(items, height=height, width=width) for _, items in scenes]
    stacked = {key: torch.from_numpy(np.stack([label[key] for label in labels])) for key in labels[0]}
    return Batch(pixels=torch.stack([to_pixels(image) for image, _ in scenes]), **stacked)


def draw_batch(rng: random.Random, *, recipes: tuple[Recipe, ...], count: int, height_px: int, width_px: int) -> Batch:
    """Draw and label scenes, taking the recipes in turn."""
    return collate(
        [
            draw_scene(rng, height_px=height_px, width_px=width_px, recipe=recipes[i % len(recipes)])
            for i in range(count)
        ]
    )
