"""Questions about a scene, of kinds that need detail, place, counting or measuring."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from opticnerve.data.reading.scene import SHAPES, Item, Scene
from opticnerve.encoders.bundled.probe import COLORS


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question with its one right answer."""

    kind: str
    """A key of `KINDS_OF_QUESTION`."""
    text: str
    answer: str
    item: int = -1
    """Number of the thing that it asks for, or -1 where it asks for several."""
    font_px: int = 0
    """Size of the type that must be read; 0 where none must."""


_FORMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "color": ("What does the {color} code say?", "Read the {color} code.", "read the {color} code"),
        "marker": (
            "Read the code next to the {color} {shape}.",
            "What is the code next to the {color} {shape}?",
            "read the code next to the {color} {shape}",
        ),
        "place": (
            "Read the code at the {place}.",
            "What does the code at the {place} say?",
            "read the code at the {place}",
        ),
        "where": ("Where is the {color} {shape}?", "where is the {color} {shape}"),
        "count": ("How many {shape}s are there?", "how many {shape}s are there"),
        "value": ("How high is the {color} bar?", "how high is the {color} bar"),
        "shape": ("What color is the {shape}?", "what color is the {shape}"),
    }
)

KINDS_OF_QUESTION: tuple[str, ...] = tuple(_FORMS)
"""Read a code by its colour, by the shape before it, by its quadrant; say where a shape is; count shapes; measure a bar
in steps; name the colour of a shape."""

PLACES: tuple[str, ...] = ("top left", "top right", "bottom left", "bottom right")
"""Quadrants of a scene."""


def words_of_questions() -> tuple[str, ...]:
    """List every word that questions and answers are made of, without codes."""
    forms = " ".join(form for some in _FORMS.values() for form in some)
    plain = forms.replace("{shape}s", "").translate(str.maketrans("?.{}", "    "))
    names = {"color", "shape", "place", "shapes"}
    words = {word for word in plain.split() if word not in names} | {"color"}
    words |= {word for place in PLACES for word in place.split()} | set(COLORS) | set(SHAPES)
    return tuple(sorted(words | {_plural(shape) for shape in SHAPES}))


def quadrant(item: Item) -> str:
    """Name the quadrant that the middle of a thing lies in."""
    x, y = item.center
    return f"{'top' if y < 0.5 else 'bottom'} {'left' if x < 0.5 else 'right'}"


def ask_about(
    scene: Scene, rng: random.Random, *, most: int, kinds: tuple[str, ...] = KINDS_OF_QUESTION
) -> tuple[Question, ...]:
    """Choose questions about a scene, each with one answer that can be seen.

    Args:
        scene: what to ask about.
        rng: source of all randomness.
        most: at most so many, different ones; every kind that the scene allows has the same chance.
        kinds: keys of `KINDS_OF_QUESTION` to choose from; all of them where the scene allows none of these.
    """
    pools = [pool for kind in kinds if (pool := _MAKERS[kind](scene, rng))]
    if not pools:
        pools = [pool for kind in KINDS_OF_QUESTION if (pool := _MAKERS[kind](scene, rng))]
    chosen: list[Question] = []
    while pools and len(chosen) < most:
        pool = rng.choice(pools)
        chosen.append(pool.pop(rng.randrange(len(pool))))
        if not pool:
            pools.remove(pool)
    return tuple(chosen)


def _plural(shape: str) -> str:
    return "pluses" if shape == "plus" else f"{shape}s"


def _form(rng: random.Random, kind: str, **names: str) -> str:
    text = rng.choice(_FORMS[kind])
    if "shape" in names:
        text = text.replace("{shape}s", _plural(names["shape"]))
    return text.format(**names)


def _codes(scene: Scene) -> list[tuple[int, Item]]:
    return [(index, item) for index, item in enumerate(scene.items) if item.kind == "text"]


def _shapes(scene: Scene) -> list[tuple[int, Item]]:
    return [(index, item) for index, item in enumerate(scene.items) if item.kind in SHAPES]


def _reading(kind: str, text: str, index: int, item: Item) -> Question:
    return Question(kind=kind, text=text, answer=item.text, item=index, font_px=item.font_px)


def _by_color(scene: Scene, rng: random.Random) -> list[Question]:
    return [_reading("color", _form(rng, "color", color=item.color), i, item) for i, item in _codes(scene)]


def _by_marker(scene: Scene, rng: random.Random) -> list[Question]:
    marked = [(i, item, scene.items[item.marker]) for i, item in _codes(scene) if item.marker >= 0]
    return [
        _reading("marker", _form(rng, "marker", color=marker.color, shape=marker.kind), i, item)
        for i, item, marker in marked
    ]


def _by_place(scene: Scene, rng: random.Random) -> list[Question]:
    codes = _codes(scene)
    places = [quadrant(item) for _, item in codes]
    return [
        _reading("place", _form(rng, "place", place=place), i, item)
        for (i, item), place in zip(codes, places, strict=True)
        if places.count(place) == 1
    ]


def _where(scene: Scene, rng: random.Random) -> list[Question]:
    return [
        Question(
            kind="where",
            text=_form(rng, "where", color=item.color, shape=item.kind),
            answer=quadrant(item),
            item=index,
        )
        for index, item in _shapes(scene)
    ]


def _counts(scene: Scene, rng: random.Random) -> list[Question]:
    kinds = [item.kind for _, item in _shapes(scene)]
    there = sorted(set(kinds))
    absent = [shape for shape in SHAPES if shape not in there]
    asked = [*there, rng.choice(absent)] if absent else there
    return [
        Question(kind="count", text=_form(rng, "count", shape=shape), answer=str(kinds.count(shape))) for shape in asked
    ]


def _values(scene: Scene, rng: random.Random) -> list[Question]:
    bars = [(index, item) for index, item in enumerate(scene.items) if item.kind == "bar"]
    return [
        Question(kind="value", text=_form(rng, "value", color=item.color), answer=str(item.value), item=index)
        for index, item in bars
    ]


def _colors(scene: Scene, rng: random.Random) -> list[Question]:
    shapes = _shapes(scene)
    kinds = [item.kind for _, item in shapes]
    return [
        Question(kind="shape", text=_form(rng, "shape", shape=item.kind), answer=item.color, item=index)
        for index, item in shapes
        if kinds.count(item.kind) == 1
    ]


_MAKERS: Mapping[str, Callable[[Scene, random.Random], list[Question]]] = MappingProxyType(
    {
        "color": _by_color,
        "marker": _by_marker,
        "place": _by_place,
        "where": _where,
        "count": _counts,
        "value": _values,
        "shape": _colors,
    }
)
