"""A linear probe on the bundled encoder's features: which characters, colours and kinds of thing each patch shows.

It is the proof that the features carry what they are meant to carry, and a way to look at what a connector lost.
"""

from importlib.resources import files
from typing import cast

from einops import rearrange
from jaxtyping import Float
from safetensors.torch import load
from torch import Tensor, nn

ALPHABET: str = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Characters that the encoder was taught: digits and capitals, without I and O, which look like 1 and 0."""

KINDS: tuple[str, ...] = ("text", "circle", "square", "triangle", "diamond", "star", "plus", "bar")
"""Kinds of thing that the encoder was taught."""

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (240, 215, 40),
    "green": (40, 160, 70),
    "cyan": (50, 190, 210),
    "blue": (40, 80, 220),
    "purple": (130, 60, 180),
    "pink": (240, 120, 180),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
}
"""Colours that the encoder was taught, with the RGB value around which they vary."""

MAX_WORD: int = 6
"""Characters of the longest word that one patch is asked to name."""


class BundledProbe(nn.Module):
    """Four linear maps from patch features to classes; class 0 is always "nothing here".

    Args:
        dim: channels of the features.
    """

    def __init__(self, *, dim: int = 192) -> None:
        super().__init__()
        symbols = len(ALPHABET) + 1
        self.glyphs = nn.Linear(dim, 2 * 4 * symbols)
        self.word = nn.Linear(dim, MAX_WORD * symbols)
        self.kind = nn.Linear(dim, len(KINDS) + 1)
        self.color = nn.Linear(dim, len(COLORS) + 1)

    def glyph_map(
        self, features: Float[Tensor, "batch patches dim"], *, rows: int
    ) -> Float[Tensor, "batch symbols cell_rows cell_cols"]:
        """Score the character centred in each cell of 8 px height and 4 px width.

        Args:
            features: the encoder's last output, in raster order.
            rows: rows of patches.

        Returns:
            Scores of `1 + len(ALPHABET)` classes on a map of 2 rows and 4 columns a patch.
        """
        return rearrange(self.glyphs(features), "b (r c) (y x s) -> b s (r y) (c x)", r=rows, y=2, x=4)

    def words(self, features: Float[Tensor, "batch patches dim"]) -> Float[Tensor, "batch patches slots symbols"]:
        """Score each character of the word that covers each patch; class 0 says that the word has ended."""
        return rearrange(self.word(features), "b n (slot s) -> b n slot s", slot=MAX_WORD)

    def read_words(self, features: Float[Tensor, "batch patches dim"]) -> list[list[str]]:
        """Name the word that covers each patch; patches without a word give an arbitrary answer."""
        images = cast(list[list[list[int]]], self.words(features).argmax(-1).tolist())
        return [["".join(ALPHABET[symbol - 1] for symbol in slots if symbol) for slots in image] for image in images]


def load_probe() -> BundledProbe:
    """Load the shipped probe (fp16 on disk) as a float32 module in eval mode."""
    probe = BundledProbe()
    data = files("opticnerve.encoders.bundled").joinpath("probe.safetensors").read_bytes()
    probe.load_state_dict({name: tensor.float() for name, tensor in load(data).items()})
    return probe.eval()
