"""Scenes of words, shapes and bars, drawn with Pillow, with exact labels.

The same random generator state gives the same scene. Fonts come from the matplotlib package (DejaVu, STIX, Computer
Modern), never from the system, so that every machine draws the same glyphs.
"""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from opticnerve.data.reading import FONTS, is_held_out, load_font
from opticnerve.data.reading.grounds import Box, draw_background, trace_polygon
from opticnerve.encoders.bundled.probe import ALPHABET, COLORS, KINDS

COLOR_NAMES = tuple(COLORS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One word, shape or bar of a scene."""

    kind: str
    color: str
    box: Box
    text: str = ""
    glyphs: tuple[Box, ...] = ()
    """One box per character."""
    font_px: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What a scene is drawn from; all sizes are px of the finished image."""

    font_px: tuple[float, float] = (6.5, 19.0)
    scale: tuple[float, float] = (1.6, 2.6)
    """The scene is drawn this much larger and then shrunk."""
    fonts: tuple[str, ...] = FONTS
    word_lengths: tuple[int, ...] = (1, 2, 3, 3, 3, 4, 4, 5, 6)
    held_out_words: bool = False
    """Draw only words that training never shows; needs words of at least 3 characters."""
    plain: float = 0.35
    """Share of scenes with a plain white background."""
    attempts_per_megapixel: float = 700.0


class _Canvas:
    """A scene while it is drawn; boxes here are px of the large canvas."""

    def __init__(self, rng: random.Random, *, height: int, width: int, scale: float, recipe: Recipe) -> None:
        self.rng, self.recipe, self.scale = rng, recipe, scale
        self.height, self.width = round(height * scale), round(width * scale)
        self.image = Image.fromarray(draw_background(rng, self.height, self.width, plain=rng.random() < recipe.plain))
        self.draw = ImageDraw.Draw(self.image)
        self.taken: list[Box] = []
        self.items: list[Item] = []

    def place(self, width: float, height: float, *, cut: bool = False) -> Box | None:
        """Find room; a `cut` thing may hang over the edge by half of its size."""
        over_x, over_y = (width / 2, height / 2) if cut else (-1.0, -1.0)
        if width + 2 >= self.width + 2 * over_x or height + 2 >= self.height + 2 * over_y:
            return None
        gap = 1.5 * self.scale
        for _ in range(4):
            left = round(self.rng.uniform(-over_x, self.width - width + over_x))
            top = round(self.rng.uniform(-over_y, self.height - height + over_y))
            box = (left, top, left + width, top + height)
            if all(
                box[0] > b[2] + gap or box[2] < b[0] - gap or box[1] > b[3] + gap or box[3] < b[1] - gap
                for b in self.taken
            ):
                self.taken.append(box)
                return box
        return None

    def pick_color(self, behind: np.ndarray) -> tuple[str, tuple[int, int, int]]:
        """Pick a colour that can be told from what is behind it."""
        best, best_distance = ("black", COLORS["black"]), -1.0
        for _ in range(6):
            name = self.rng.choice(COLOR_NAMES)
            rgb = tuple(min(255, max(0, value + self.rng.randint(-18, 18))) for value in COLORS[name])
            difference = np.asarray(rgb, dtype=float) - behind
            distance = float(np.abs(difference).sum() + 3 * abs(difference @ (0.3, 0.6, 0.1)))
            if distance > best_distance:
                best, best_distance = (name, rgb), distance
            if distance > 330:
                break
        return best

    def behind(self, box: Box) -> np.ndarray:
        """Average the background under a box, from a few pixels."""
        xs = (min(max(int(box[0] + (box[2] - box[0]) * f), 0), self.width - 1) for f in (0.1, 0.5, 0.9))
        y = min(max(int((box[1] + box[3]) / 2), 0), self.height - 1)
        return np.mean([self.image.getpixel((x, y)) for x in xs], axis=0)

    def word(self) -> str:
        while True:
            word = "".join(self.rng.choices(ALPHABET, k=self.rng.choice(self.recipe.word_lengths)))
            if is_held_out(word) == self.recipe.held_out_words:
                return word

    def add_words(self) -> None:
        """Write one to three words side by side."""
        low, high = self.recipe.font_px
        font_px = math.exp(self.rng.uniform(math.log(low), math.log(high)))
        font = load_font(self.rng.choice(self.recipe.fonts), max(5, round(font_px * self.scale)))
        words = [self.word() for _ in range(self.rng.choice((1, 1, 1, 2, 3)))]
        line = " ".join(words)
        _, top, right, bottom = font.getbbox(line)
        box = self.place(right, bottom - top, cut=self.rng.random() < 0.12)
        if box is None:
            return
        if self.rng.random() < 0.12:
            plate = self.pick_color(self.behind(box))[1]
            pad = self.scale * 1.2
            self.draw.rectangle((box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad), fill=plate)
        color, rgb = self.pick_color(self.behind(box))
        self.draw.text((box[0], box[1] - top), line, font=font, fill=rgb)
        start = 0
        for word in words:
            edges = [box[0] + font.getlength(line[: start + i]) for i in range(len(word) + 1)]
            glyphs = tuple((a, box[1], b, box[3]) for a, b in pairwise(edges))
            word_box = (edges[0], box[1], edges[-1], box[3])
            self.items.append(
                Item(kind="text", color=color, box=word_box, text=word, glyphs=glyphs, font_px=font.size / self.scale)
            )
            start += len(word) + 1

    def add_shape(self) -> None:
        """Draw one filled or outlined shape."""
        side = self.scale * math.exp(self.rng.uniform(math.log(7), math.log(36)))
        box = self.place(side, side, cut=self.rng.random() < 0.12)
        if box is None:
            return
        kind = self.rng.choice(KINDS[1:-1])
        color, rgb = self.pick_color(self.behind(box))
        style = {"outline": rgb, "width": max(2, round(side / 9))} if self.rng.random() < 0.2 else {"fill": rgb}
        if kind == "circle":
            self.draw.ellipse(box, **style)
        elif kind == "square":
            self.draw.rectangle(box, **style)
        else:
            self.draw.polygon(trace_polygon(kind, box), **style)
        self.items.append(Item(kind=kind, color=color, box=box))

    def add_chart(self) -> None:
        """Draw three to five bars on a base line."""
        count = self.rng.randint(3, 5)
        step = self.scale * self.rng.uniform(9, 22)
        height = self.scale * self.rng.uniform(30, 90)
        box = self.place(step * count, height)
        if box is None:
            return
        for index in range(count):
            left = box[0] + step * (index + 0.15)
            bar = (left, box[3] - height * self.rng.randint(1, 9) / 9, left + 0.7 * step, box[3])
            color, rgb = self.pick_color(self.behind(bar))
            self.draw.rectangle(bar, fill=rgb)
            self.items.append(Item(kind="bar", color=color, box=bar))
        line = tuple(int(value) for value in 255 - np.round(self.behind(box) / 255) * 255)
        self.draw.line((box[0], box[3], box[2], box[3]), fill=line, width=max(1, round(self.scale)))

    def finish(self, height: int, width: int) -> tuple[np.ndarray, tuple[Item, ...]]:
        """Shrink to the asked size, spoil a few, and bring the boxes to the finished image's px."""
        filters = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)
        image = self.image
        if image.size != (width, height):
            image = image.resize((width, height), self.rng.choice(filters))
        if self.rng.random() < 0.08:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=self.rng.randint(50, 92))
            image = Image.open(buffer)
        fx, fy = width / self.width, height / self.height
        scaled = []
        for item in self.items:
            boxes = [(b[0] * fx, b[1] * fy, b[2] * fx, b[3] * fy) for b in (item.box, *item.glyphs)]
            if boxes[0][2] < 1 or boxes[0][3] < 1 or boxes[0][0] > width - 1 or boxes[0][1] > height - 1:
                continue  # a word of a line that hangs over the edge
            scaled.append(
                Item(kind=item.kind, color=item.color, box=boxes[0], text=item.text, glyphs=tuple(boxes[1:]),
                     font_px=item.font_px)
            )  # fmt: skip
        return np.asarray(image), tuple(scaled)


def draw_scene(
    rng: random.Random, *, height_px: int, width_px: int, recipe: Recipe
) -> tuple[np.ndarray, tuple[Item, ...]]:
    """Draw one scene.

    Args:
        rng: Source of all randomness.
        height_px: Height of the finished image.
        width_px: Width of the finished image.
        recipe: What to draw.

    Returns:
        The image, `(height, width, 3)` uint8, and the items in it.
    """
    canvas = _Canvas(rng, height=height_px, width=width_px, scale=rng.uniform(*recipe.scale), recipe=recipe)
    if rng.random() < 0.12:
        canvas.add_chart()
    shapes = rng.choice((0.0, 0.2, 0.4))
    for _ in range(max(4, round(height_px * width_px * 1e-6 * recipe.attempts_per_megapixel * rng.uniform(0.5, 2.0)))):
        if rng.random() < shapes:
            canvas.add_shape()
        else:
            canvas.add_words()
    return canvas.finish(height_px, width_px)
