"""Codes that no language model can guess, and how the splits share them out."""

import random
import zlib
from typing import Literal

from opticnerve.encoders.bundled.probe import ALPHABET

Split = Literal["train", "validation", "test"]
"""Training, choosing, and the one look at the end."""


def split_of(word: str) -> Split:
    """Say which split a code belongs to: nine tenths are for training, a twentieth each for the others.

    Codes of validation and test are among those that the bundled encoder never saw either, if they have 3 characters or
    more.

    Args:
        word: the code.
    """
    share = zlib.crc32(word.encode()) % 20
    return "validation" if share == 0 else "test" if share == 10 else "train"


def is_held_out(word: str) -> bool:
    """Say whether a code belongs to the tenth of all codes that the bundled encoder's training never showed.

    Args:
        word: the code; shorter ones than 3 characters are all shown.
    """
    return len(word) >= 3 and split_of(word) != "train"


def draw_code(rng: random.Random, *, split: Split, lengths: tuple[int, ...]) -> str:
    """Draw a random code of a split.

    Args:
        rng: source of all randomness.
        split: whose code.
        lengths: numbers of characters to choose from.
    """
    while True:
        word = "".join(rng.choices(ALPHABET, k=rng.choice(lengths)))
        if split_of(word) == split:
            return word
