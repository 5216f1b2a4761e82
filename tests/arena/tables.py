"""Answers of cells whose truth is known."""

import numpy as np

from opticnerve.arena import Answered, AnswerTable, tabulate


def table_of(right: dict[str, np.ndarray], *, kinds: list[str] | None = None, px: list[float | None] | None = None):
    """A table of arrays of seeds, images, questions; kinds and heights are those of an image's questions."""
    parts = []
    for cell, values in right.items():
        seed, image, question = (index.reshape(-1) for index in np.indices(values.shape))
        names = np.array(kinds or ["color"] * values.shape[2])
        heights = np.array([np.nan if one is None else one for one in px or [None] * values.shape[2]], dtype=float)
        parts.append(
            (np.full(seed.shape, cell), seed, image.astype(str), names[question], heights[question], values.reshape(-1))
        )
    cell, seed, image, kind, glyph_px, is_right = (np.concatenate(column) for column in zip(*parts, strict=True))
    return AnswerTable(
        cell=cell, seed=seed, image=image, kind=kind, glyph_px=glyph_px, is_right=is_right.astype(np.bool_)
    )


def trained(rng: np.random.Generator, chance: np.ndarray, *, seeds: int, questions: int = 3, spread: float = 0.05):
    """Answers of a method trained with some seeds, right with a chance of each image.

    Each seed is better or worse as a whole, and half of its images have their questions stand or fall together.
    """
    shape = (seeds, len(chance), questions)
    moved = chance + rng.uniform(-spread, spread, seeds)[:, None]
    together = rng.random((seeds, len(chance), 1)) < 0.5
    luck = np.where(together, rng.random((seeds, len(chance), 1)), rng.random(shape))
    return luck < moved[:, :, None]


def row(cell="a", seed=0, image="x", kind="color", glyph_px=None, is_right=True):
    return Answered(cell=cell, seed=seed, image=image, kind=kind, glyph_px=glyph_px, is_right=is_right)


def rows(*some: Answered) -> AnswerTable:
    return tabulate(some)
