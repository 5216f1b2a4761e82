"""S2: the image at several scales, cut into tiles that the encoder knows, joined on the channels."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from typing import Any, Literal, cast

from opticnerve.errors import ShapeError, SpecError
from opticnerve.grid import Grid
from opticnerve.multiscale.maps import check_scale

GridFunction = Callable[[int, int], Grid]
"""Height and width of a tile in pixels -> the grid of its features, as `Encoder.grid`."""
CostFunction = Callable[[int, int], int]
"""Height and width of a tile in pixels -> the operations that it costs, as `Encoder.flops`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One scale of an image: its size and its tiles."""

    height_px: int
    """Height that the image is resized to."""
    width_px: int
    """Width that the image is resized to."""
    rows: int
    """Tiles from top to bottom."""
    cols: int
    """Tiles from left to right."""

    @property
    def num_tiles(self) -> int:
        """Tiles of this scale."""
        return self.rows * self.cols

    @property
    def tile_px(self) -> tuple[int, int]:
        """Height and width of one tile."""
        return self.height_px // self.rows, self.width_px // self.cols


@dataclass(frozen=True, kw_only=True, slots=True)
class S2:
    """As many tokens as one scale has, each with the channels of all scales; every scale costs its own encoder runs.

    Keeps: fine detail and overview in every token. Loses: where inside its patch a fine detail was, as the maps are
    brought to one size by the mean over areas; and attention does not cross the borders of tiles.

    Source: Shi et al., "When Do We Not Need Larger Vision Models?", 2024, section 2; bfshi/scaling_on_scales,
    `s2wrapper/core.py` (PyPI: scaling-on-scales 0.1.0). Bicubic without antialias, in float32.
    Differs: images need not be square. A relative scale multiplies both sides, a scale in pixels is the shorter side;
    each side is cut into as many tiles as its own length asks for.

    Example: scales (1, 2) of 448 x 448 px, 14 px patches: 1 + 4 tiles -> 32 x 32 tokens of twice the channels.

    Raises:
        SpecError: an option cannot be.
    """

    scales: tuple[int | float, ...] = (1, 2)
    """Sizes that the image is encoded at."""
    unit: Literal["image", "px"] = "image"
    """What a scale counts: times the image (`scales`), or pixels of the shorter side (`img_sizes`)."""
    comes_at: int | float = 1
    """The multiple of its size at which the image comes: at 2, scale 2 is the image as it comes and scale 1 shrinks it,
    so that the larger scale sees new pixels. Scales in pixels need it not. The original has 1."""
    max_tile_px: int | Literal["image"] = "image"
    """Longest side of a tile in pixels, or the image's own side, at scale 1 (`max_split_size`)."""
    resize_to: int = 0
    """The scale whose grid the result has; negative counts from the last (`resize_output_to_idx`)."""
    views_per_call: int | Literal["scale", "all"] = "scale"
    """Most tiles in one call of the encoder, of all scales together: as many as the largest scale has, which is the
    memory of the original; all of one size; or a number, which saves memory (`split_forward`)."""

    def __post_init__(self) -> None:
        are_finite = bool(self.scales) and all(0 < scale < math.inf for scale in self.scales)
        if not are_finite or self.unit not in ("image", "px"):
            raise SpecError(
                f'S2 needs scales above 0 in unit "image" or "px", got scales={self.scales}, unit="{self.unit}"'
            )
        for name, value, words in (
            ("max_tile_px", self.max_tile_px, ("image",)),
            ("views_per_call", self.views_per_call, ("scale", "all")),
        ):
            if value not in words and (isinstance(value, (str, bool)) or value < 1):
                known = " or ".join(f'"{word}"' for word in words)
                raise SpecError(f"S2 needs {name} of at least 1, or {known}, got {value!r}")
        if not 0 < self.comes_at < math.inf or (self.unit == "px" and self.comes_at != 1):
            raise SpecError(
                f"S2 needs comes_at above 0, and 1 where scales are in pixels, got comes_at={self.comes_at} and "
                f'unit="{self.unit}"'
            )
        check_scale(self.resize_to, num_scales=len(self.scales), what="S2")

    def to_dict(self) -> dict[str, object]:
        """Return all options as plain values, ready for JSON."""
        return {**asdict(self), "scales": list(self.scales)}

    @classmethod
    def from_dict(cls, options: Mapping[str, object]) -> "S2":
        """Build the specification from plain values; what is left out has its default.

        Args:
            options: what `to_dict` returned.

        Raises:
            SpecError: an option is unknown, or has a value that cannot be.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(options) - set(known)):
            raise SpecError(f"S2 has no option {', '.join(unknown)}. Options: {', '.join(known)}.")
        given = cast(dict[str, Any], dict(options))
        if "scales" in given:
            given["scales"] = tuple(given["scales"])
        return cls(**given)

    def views(self, height_px: int, width_px: int) -> tuple[View, ...]:
        """Say what becomes of an image, scale by scale.

        Args:
            height_px: height of the image.
            width_px: width of the image.

        Raises:
            ShapeError: the tiles of a scale would not be equal; the message names sides that fit.
        """
        return tuple(self._view(scale, height_px, width_px) for scale in self.scales)

    def num_views(self, height_px: int, width_px: int) -> int:
        """Count the tiles of all scales, each of them one run of the encoder.

        Args:
            height_px: height of the image.
            width_px: width of the image.
        """
        return sum(view.num_tiles for view in self.views(height_px, width_px))

    def out_dim(self, dim: int) -> int:
        """Multiply the encoder's channels by the number of scales.

        Args:
            dim: channels of the encoder.
        """
        return dim * len(self.scales)

    def out_grid(self, height_px: int, width_px: int, *, grid: GridFunction) -> Grid:
        """Tell where the features lie: on the grid of the scale `resize_to`, behind the prefix of one tile.

        Args:
            height_px: height of the image.
            width_px: width of the image.
            grid: of a tile.
        """
        view = self.views(height_px, width_px)[self.resize_to]
        tile = grid(*view.tile_px)
        return replace(tile, rows=tile.rows * view.rows, cols=tile.cols * view.cols)

    def flops(self, height_px: int, width_px: int, *, flops: CostFunction) -> int:
        """Add up the encoder's operations over all tiles of one image.

        Args:
            height_px: height of the image.
            width_px: width of the image.
            flops: of a tile.
        """
        return sum(view.num_tiles * flops(*view.tile_px) for view in self.views(height_px, width_px))

    def _view(self, scale: int | float, height_px: int, width_px: int) -> View:
        height_px, width_px = self._at_scale_1(height_px, width_px)
        if self.unit == "image":
            height, width = int(height_px * scale), int(width_px * scale)
        else:
            shorter = min(height_px, width_px)
            height, width = int(height_px * scale / shorter), int(width_px * scale / shorter)
        rows, cols = self._splits(height, height_px), self._splits(width, width_px)
        if min(height, width) < 1 or height % rows or width % cols:
            raise ShapeError(
                f"S2 cannot cut {height} x {width} px (scale {scale:g} of an image of {height_px} x {width_px} px) "
                f"into {max(rows, 1)} x {max(cols, 1)} equal tiles. Sides that fit: {_fitting(height, rows)} x "
                f"{_fitting(width, cols)} px. Choose another scale, or resize the image first."
            )
        return View(height_px=height, width_px=width, rows=rows, cols=cols)

    def _at_scale_1(self, height_px: int, width_px: int) -> tuple[int, int]:
        height, width = Fraction(height_px) / Fraction(self.comes_at), Fraction(width_px) / Fraction(self.comes_at)
        if height.denominator != 1 or width.denominator != 1:
            raise ShapeError(
                f"S2 is given images at {self.comes_at:g} times their size, but {height_px} x {width_px} px is not "
                f"{self.comes_at:g} times whole pixels: resize the image first"
            )
        return int(height), int(width)

    def _splits(self, side_px: int, image_px: int) -> int:
        return math.ceil(side_px / (image_px if self.max_tile_px == "image" else self.max_tile_px))


def _fitting(side: int, parts: int) -> str:
    parts = max(parts, 1)
    below, above = side // parts * parts, -(-side // parts) * parts
    return str(above) if below in (0, above) else f"{below} or {above}"
