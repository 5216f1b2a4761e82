"""What a model is asked for: images, text, and how many prompts at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from opticnerve.errors import PlanError
from opticnerve.planner.device import VALUE_BYTES, DType


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """What is asked of a model at once."""

    images_per_prompt: int = 1
    text_tokens: int = 100
    """Tokens of text in a prompt, besides what stands around images."""
    new_tokens: int = 200
    """Tokens of an answer; they need room in the cache."""
    batch: int = 1
    """Prompts at once."""
    dtype: DType = "bf16"
    """Numbers of weights, cache and activations; with int4 and int8, activations and cache are of 16 bits."""

    def __post_init__(self) -> None:
        for name, least in (("images_per_prompt", 1), ("text_tokens", 0), ("new_tokens", 0), ("batch", 1)):
            if getattr(self, name) < least:
                raise PlanError(f"a plan needs {name} of at least {least}, got {getattr(self, name)}")
        if self.dtype not in VALUE_BYTES:
            raise PlanError(f'there is no number format "{self.dtype}": choose of {", ".join(VALUE_BYTES)}')

    @property
    def weight_bytes(self) -> float:
        """Bytes of one weight."""
        return VALUE_BYTES[self.dtype]

    @property
    def value_bytes(self) -> int:
        """Bytes of one number of the activations and of the cache."""
        return 4 if self.dtype == "fp32" else 2


def read_size(text: str) -> tuple[int, int]:
    """Read "2000x1500", width x height as image sizes are written.

    Args:
        text: two whole numbers with an "x" between.

    Returns:
        Height and width.

    Raises:
        PlanError: it is not that.
    """
    sides: Sequence[str] = text.lower().split("x")
    if len(sides) != 2 or not all(side.strip().isdecimal() and int(side) > 0 for side in sides):
        raise PlanError(
            f'an image size is WIDTHxHEIGHT in pixels, such as 2000x1500, or a folder of images; got "{text}"'
        )
    return int(sides[1]), int(sides[0])
