"""What the shapes of published tensors tell, where no setting does."""

import re
from math import isqrt

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layout import Shapes
from opticnerve.errors import CheckpointError


def numbers(shapes: Shapes, pattern: str) -> list[int]:
    """List the numbers that stand at the group of a pattern with which names begin."""
    return sorted({int(found[1]) for name in shapes if (found := re.match(pattern, name))})


def square(count: int, what: str) -> tuple[int, int]:
    """Return the sides of a square grid.

    Raises:
        CheckpointError: so many do not make a square.
    """
    if isqrt(count) ** 2 != count:
        raise CheckpointError(f"{what} holds {count} places, which are no square grid: another family, or damaged")
    return isqrt(count), isqrt(count)


def projector_type(config: Config) -> str:
    """Return LLaVA's mm_projector_type, "" where no setting says it."""
    return str(config.get("mm_projector_type", None) or config.get("mm_projector_cfg.mm_projector_type", None) or "")


def mlp_depth(config: Config, shapes: Shapes, *, start: str = "") -> int:
    """Count the Linears of LLaVA's mlpNx_gelu: as the settings say, or else the tensors.

    Args:
        config: settings.
        shapes: of the tensors.
        start: what stands before the numbers.
    """
    if named := re.fullmatch(r"mlp(\d+)x_gelu", projector_type(config)):
        return int(named[1])
    return sum(bool(re.fullmatch(re.escape(start) + r"\d+\.weight", name)) for name in shapes)
