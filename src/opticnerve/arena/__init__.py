"""Statistics and words of the arena: which cell is better, by how much, and how sure that is."""

from opticnerve.arena.advice import Advice, Candidate, advise
from opticnerve.arena.answers import (
    Answered,
    AnswerTable,
    tabulate,
)
from opticnerve.arena.differences import Difference, Verdict, compare, compare_many, compare_with_best, holm
from opticnerve.arena.glyphs import (
    HeightPoint,
    HeightRange,
    SmallestRead,
    glyph_curve,
    smallest_read,
    split_heights,
    whole_pixels,
)
from opticnerve.arena.intervals import Interval, SeedNoise, seed_noise, share_interval

__all__ = [
    "Advice",
    "AnswerTable",
    "Answered",
    "Candidate",
    "Difference",
    "HeightPoint",
    "HeightRange",
    "Interval",
    "SeedNoise",
    "SmallestRead",
    "Verdict",
    "advise",
    "compare",
    "compare_many",
    "compare_with_best",
    "glyph_curve",
    "holm",
    "seed_noise",
    "share_interval",
    "smallest_read",
    "split_heights",
    "tabulate",
    "whole_pixels",
]
