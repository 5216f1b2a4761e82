"""A scene of the reading task: codes, shapes and bars at known places, drawn with Pillow."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, ImageDraw

from opticnerve.data.reading.fonts import FONTS, load_font
from opticnerve.data.reading.grounds import Box, draw_background, trace_polygon
from opticnerve.data.reading.words import Split, draw_code
from opticnerve.encoders.bundled.probe import COLORS, KINDS

CANVAS_PX: int = 512
"""Height and width of a scene."""
SHAPES: tuple[str, ...] = KINDS[1:-1]
"""Shapes that are drawn and asked for."""
MAX_VALUE: int = 9
"""Height of the highest bar, in steps."""
STEP_PX: int = 14
"""Height of one step of a bar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One code, shape or bar."""

    kind: str
    """A key of the encoder's `KINDS`: "text", a shape, or "bar"."""
    color: str
    """A key of the encoder's `COLORS`."""
    box: Box
    """Left, top, right, bottom in pixels of the scene."""
    text: str = ""
    """The code, of a text."""
    font_px: int = 0
    """Size of the type, of a text."""
    value: int = 0
    """Height in steps, of a bar."""
    marker: int = -1
    """Of a text: number of the shape that stands right before it, or -1."""

    @property
    def center(self) -> tuple[float, float]:
        """Where its middle lies: x and y as shares of the scene."""
        left, top, right, bottom = self.box
        return (left + right) / (2 * CANVAS_PX), (top + bottom) / (2 * CANVAS_PX)


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneRecipe:
    """What scenes are drawn from."""

    font_px: tuple[float, float] = (12, 34)
    """Smallest and largest type; sizes are log-uniform."""
    lengths: tuple[int, ...] = (2, 3, 3, 4, 5)
    """Characters of a code."""
    fonts: tuple[str, ...] = FONTS
    """Typefaces."""
    num_codes: tuple[int, int] = (2, 6)
    """Fewest and most codes of a page."""
    num_shapes: tuple[int, int] = (1, 7)
    """Fewest and most shapes."""
    chart_share: float = 0.4
    """Share of scenes with a bar chart."""
    sign_share: float = 0.15
    """Share of scenes that are a sign: one or two codes on a plate, twice as large."""


def recipe_at(level: float) -> SceneRecipe:
    """Return what scenes of a level are drawn from.

    Args:
        level: from 0, a thing or three with type of 24 to 36 px, to 1, up to six codes and seven shapes with type of 12
            to 34 px.
    """
    return SceneRecipe(
        font_px=(24 - 12 * level, 36 - 2 * level),
        num_codes=(1 + round(level), 2 + round(4 * level)),
        num_shapes=(round(level), 1 + round(6 * level)),
        chart_share=0.1 + 0.3 * level,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A drawn scene and all that is in it."""

    pixels: UInt8[ndarray, "height width 3"]
    """The picture."""
    items: tuple[Item, ...]
    """Everything on it."""


@dataclass(kw_only=True, slots=True)
class _Page:
    """A scene while it is drawn."""

    rng: random.Random
    recipe: SceneRecipe
    split: Split
    image: Image.Image
    draw: ImageDraw.ImageDraw
    taken: list[Box] = field(default_factory=list[Box])
    items: list[Item] = field(default_factory=list[Item])

    def place(self, width: float, height: float) -> Box | None:
        """Find room for a thing, off the middle lines, so that its quadrant is plain."""
        gap, edge, middle = 9, 5, CANVAS_PX / 2
        for _ in range(30):
            left = self.rng.uniform(edge, CANVAS_PX - edge - width)
            top = self.rng.uniform(edge, CANVAS_PX - edge - height)
            if min(abs(left + width / 2 - middle), abs(top + height / 2 - middle)) < 16:
                continue
            box = (left, top, left + width, top + height)
            if all(
                box[0] > b[2] + gap or box[2] < b[0] - gap or box[1] > b[3] + gap or box[3] < b[1] - gap
                for b in self.taken
            ):
                self.taken.append(box)
                return box
        return None

    def pick_color(self, box: Box, avoid: Sequence[str]) -> tuple[str, tuple[int, int, int]] | None:
        """Pick a colour that can be told from what is behind it, and is not one of `avoid`."""
        behind = self._behind(box)
        names = [name for name in COLORS if name not in avoid]
        self.rng.shuffle(names)
        for name in names:
            red, green, blue = (min(255, max(0, value + self.rng.randint(-12, 12))) for value in COLORS[name])
            difference = np.asarray((red, green, blue), dtype=float) - behind
            if float(np.abs(difference).sum() + 3 * abs(difference @ (0.3, 0.6, 0.1))) > 300:
                return name, (red, green, blue)
        return None

    def _behind(self, box: Box) -> ndarray:
        xs = [min(max(int(box[0] + (box[2] - box[0]) * share), 0), CANVAS_PX - 1) for share in (0.1, 0.5, 0.9)]
        y = min(max(int((box[1] + box[3]) / 2), 0), CANVAS_PX - 1)
        return np.mean([np.asarray(self.image.getpixel((x, y)), dtype=float) for x in xs], axis=0)

    def colors_of(self, *kinds: str) -> list[str]:
        """List the colours that things of some kinds have already."""
        return [item.color for item in self.items if item.kind in kinds]

    def add_code(self, *, scale: float = 1.0) -> None:
        """Write one code, in a colour that no other code has; one in three stands right after a small shape."""
        rng = self.rng
        low, high = self.recipe.font_px
        size = round(scale * math.exp(rng.uniform(math.log(low), math.log(high))))
        font = load_font(rng.choice(self.recipe.fonts), size)
        word = draw_code(rng, split=self.split, lengths=self.recipe.lengths)
        _, top, right, bottom = font.getbbox(word)
        has_marker = rng.random() < 0.35
        side = max(9.0, 0.7 * (bottom - top)) if has_marker else 0.0
        shift = 1.6 * side
        box = self.place(right + shift, max(bottom - top, side))
        found = box and self.pick_color(box, self.colors_of("text"))
        if not box or not found:
            return
        marker = -1
        if has_marker:
            y, number = (box[1] + box[3] - side) / 2, len(self.items)
            marker = number if self.add_shape_at((box[0], y, box[0] + side, y + side)) else -1
        y = (box[1] + box[3] - (bottom - top)) / 2
        text_box = (box[0] + shift, y, box[0] + shift + right, y + bottom - top)
        self.draw.text((text_box[0], y - top), word, font=font, fill=found[1])
        item = Item(kind="text", color=found[0], box=text_box, text=word, font_px=size, marker=marker)
        self.items.append(item)

    def add_shape(self) -> None:
        """Draw one shape somewhere."""
        side = math.exp(self.rng.uniform(math.log(14), math.log(60)))
        box = self.place(side, side)
        if box:
            self.add_shape_at(box)

    def add_shape_at(self, box: Box) -> bool:
        """Draw one shape; no two are alike in kind and colour. Say whether a colour was found."""
        kind = self.rng.choice(SHAPES)
        found = self.pick_color(box, self.colors_of(kind))
        if not found:
            return False
        if kind == "circle":
            self.draw.ellipse(box, fill=found[1])
        elif kind == "square":
            self.draw.rectangle(box, fill=found[1])
        else:
            self.draw.polygon(trace_polygon(kind, box), fill=found[1])
        self.items.append(Item(kind=kind, color=found[0], box=box))
        return True

    def add_chart(self) -> None:
        """Draw three to five bars of different colours on a base line."""
        count, step = self.rng.randint(3, 5), self.rng.uniform(22, 40)
        box = self.place(step * count, STEP_PX * MAX_VALUE)
        if not box:
            return
        for index in range(count):
            value, left = self.rng.randint(1, MAX_VALUE), box[0] + step * (index + 0.15)
            bar = (left, box[3] - STEP_PX * value, left + 0.7 * step, box[3])
            found = self.pick_color(bar, self.colors_of("bar"))
            if found:
                self.draw.rectangle(bar, fill=found[1])
                self.items.append(Item(kind="bar", color=found[0], box=bar, value=value))
        dark = self._behind((box[0], box[3], box[2], box[3] + 4)).mean() < 128
        self.draw.line((box[0], box[3], box[2], box[3]), fill=(235, 235, 235) if dark else (30, 30, 30), width=2)


def draw_scene(rng: random.Random, *, split: Split, recipe: SceneRecipe, has_ground: bool = True) -> Scene:
    """Draw a scene of `CANVAS_PX` pixels a side.

    Args:
        rng: source of all randomness; the same state gives the same scene.
        split: whose codes.
        recipe: what to draw.
        has_ground: with gradients and noise; a ground of one colour is ten times as fast, where only the layout counts.
    """
    if has_ground:
        image = Image.fromarray(draw_background(rng, CANVAS_PX, CANVAS_PX, plain=rng.random() < 0.4))
    else:
        image = Image.new("RGB", (CANVAS_PX, CANVAS_PX), (rng.randrange(256), rng.randrange(256), rng.randrange(256)))
    page = _Page(rng=rng, recipe=recipe, split=split, image=image, draw=ImageDraw.Draw(image))
    if rng.random() < recipe.sign_share:
        for _ in range(rng.randint(1, 2)):
            page.add_code(scale=2.0)
        num_codes = 1
    else:
        num_codes = rng.randint(*recipe.num_codes)
        if rng.random() < recipe.chart_share:
            page.add_chart()
    for _ in range(num_codes):
        page.add_code()
    for _ in range(rng.randint(*recipe.num_shapes)):
        page.add_shape()
    return Scene(pixels=np.asarray(image), items=tuple(page.items))
