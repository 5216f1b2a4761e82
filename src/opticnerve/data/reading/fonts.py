"""The typefaces of the reading task. They come from the matplotlib package, so every machine draws the same glyphs."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

from opticnerve.errors import OpticNerveError

FONTS: tuple[str, ...] = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Bold",
    "DejaVuSans-Oblique", "STIXGeneral", "STIXGeneralBol", "cmr10", "cmss10", "cmtt10", "cmb10",
)  # fmt: skip
"""Typefaces of every split: DejaVu, STIX and Computer Modern."""

UNSEEN_FONTS: tuple[str, ...] = ("DejaVuSerif-BoldItalic", "STIXGeneralItalic", "DejaVuSansMono-BoldOblique")
"""Typefaces that nothing is trained on."""


@lru_cache(maxsize=2048)
def load_font(name: str, size_px: int) -> ImageFont.FreeTypeFont:
    """Load a typeface.

    Args:
        name: one of `FONTS` or `UNSEEN_FONTS`.
        size_px: its size in pixels.

    Raises:
        OpticNerveError: matplotlib is not installed.
    """
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise OpticNerveError("the reading task's fonts come from matplotlib: pip install 'opticnerve[train]'")
    path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)
