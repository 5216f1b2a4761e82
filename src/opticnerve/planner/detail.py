"""How much of an image is left, in two numbers that can be compared between configurations."""

from opticnerve.planner.model import Look

READABLE_PX = 12
"""Size of type at the encoder, in pixels of an em, that is taken to be readable. Of three-character words of 12 to 14
px in a shrunk view, the bundled encoder reads 90 % from one feature in typefaces of its training and 72 % in others; of
8 to 10 px 51 % and 35 % (its card.json, where sizes are those before a view is halved)."""
GLYPHS_PER_TOKEN = 8
"""Characters of running text that a visual token is taken to hold: InternVL's tokens of 28 x 28 px hold as many of type
of 12 px. A rule of thumb."""
_EM_AREA = 0.72
"""Area of a character with its share of the line, in squares of an em: 0.6 wide, 1.2 high."""


def pixels_per_token(look: Look) -> float:
    """Count the pixels of the image that each visual token stands for.

    Args:
        look: what becomes of the image.
    """
    return look.height_px * look.width_px / look.num_tokens


def readable_px(look: Look) -> float:
    """Say how large type must be to be read, in pixels of an em on the image as it came.

    At the encoder type must have `READABLE_PX`, and be so large that a visual token does not have to hold more than
    `GLYPHS_PER_TOKEN` characters of running text; where the image is shrunk on the way, it must be larger before.

    Args:
        look: what becomes of the image.
    """
    token_side = (look.tile_pixels / look.num_tokens) ** 0.5
    crowded = token_side / (_EM_AREA * GLYPHS_PER_TOKEN) ** 0.5
    return max(READABLE_PX, crowded) / look.zoom
