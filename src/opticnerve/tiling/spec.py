"""The one interface of all tilings: the size of an image in, a plan out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, cast

from opticnerve.errors import ImageError, SpecError
from opticnerve.tiling.plan import TilePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling(ABC):
    """A way to cut images into what an encoder takes. Frozen options, no pixels: those are in `pixels`."""

    name: ClassVar[str]
    """Name in the registry."""

    @property
    @abstractmethod
    def most_tiles(self) -> int:
        """Most tiles that any image gets, overview included."""

    @abstractmethod
    def plan(self, height_px: int, width_px: int) -> TilePlan:
        """Say what becomes of an image.

        Args:
            height_px: height of the image, in pixels.
            width_px: width of the image, in pixels.

        Raises:
            ImageError: a side is not a whole number of at least 1, or the published model refuses the image.
        """

    @abstractmethod
    def smaller(self, plan: TilePlan) -> TilePlan | None:
        """Return the next cheaper plan for the same image, or None where there is none.

        Args:
            plan: what this tiling planned for the image.
        """

    def to_dict(self) -> dict[str, object]:
        """Return the name and all options as plain values, ready for JSON."""
        return {"name": self.name, **{key: _thaw(value) for key, value in asdict(self).items()}}

    @classmethod
    def from_dict(cls, options: Mapping[str, object]) -> "Tiling":
        """Build the tiling from plain values; what is left out has its default.

        Args:
            options: the options by name, lists for tuples; a "name" must be this tiling's.

        Raises:
            SpecError: an option is unknown, or has a value that cannot be.
        """
        given = {key: _freeze(value) for key, value in options.items() if key != "name"}
        if options.get("name", cls.name) != cls.name:
            raise SpecError(f'these are the options of "{options["name"]}", not of "{cls.name}": use tiling_from_dict')
        known = [item.name for item in fields(cls)]
        if unknown := sorted(set(given) - set(known)):
            have = ", ".join(known)
            raise SpecError(f'tiling "{cls.name}" has no option {", ".join(unknown)}. Options: {have}.')
        return cls(**given)


def require_image(height_px: int, width_px: int) -> None:
    """Refuse sides that no image has.

    Args:
        height_px: height of the image, in pixels.
        width_px: width of the image, in pixels.

    Raises:
        ImageError: a side is not a whole number of at least 1.
    """
    for value in (height_px, width_px):
        if not is_whole(value) or value < 1:
            raise ImageError(f"an image needs whole sides of at least 1 px, got {height_px!r} x {width_px!r} (h x w)")


def require_whole(owner: str, least: int = 1, **options: int) -> None:
    """Refuse options that are not whole numbers, or too small.

    Args:
        owner: the tiling, as it stands in the message.
        least: the smallest value allowed.
        **options: the values by name.

    Raises:
        SpecError: the message names the option.
    """
    for key, value in options.items():
        if not is_whole(value) or value < least:
            raise SpecError(f'tiling "{owner}" needs {key} as a whole number of at least {least}, got {value!r}')


def require_rgb(owner: str, rgb: tuple[int, int, int]) -> None:
    """Refuse a colour that is not three whole numbers from 0 to 255.

    Args:
        owner: the tiling, as it stands in the message.
        rgb: the colour.

    Raises:
        SpecError: the message shows the colour.
    """
    if len(rgb) != 3 or not all(is_whole(part) and 0 <= part <= 255 for part in rgb):
        raise SpecError(f'tiling "{owner}" needs pad_rgb as three whole numbers from 0 to 255, got {rgb!r}')


def require_claims(owner: str, **options: bool) -> None:
    """Refuse options that are neither true nor false.

    Args:
        owner: the tiling, as it stands in the message.
        **options: the values by name.

    Raises:
        SpecError: the message names the option.
    """
    for key, value in options.items():
        if not isinstance(cast("object", value), bool):
            raise SpecError(f'tiling "{owner}" needs {key} as true or false, got {value!r}')


def is_whole(value: object) -> bool:
    """Tell whether a value is a whole number, true and false not counted."""
    return isinstance(value, int) and not isinstance(value, bool)


def _thaw(value: object) -> object:
    return [_thaw(part) for part in cast("tuple[object, ...]", value)] if isinstance(value, tuple) else value


def _freeze(value: object) -> object:
    return tuple(_freeze(part) for part in cast("list[object]", value)) if isinstance(value, list | tuple) else value
