"""What the readers of many layouts share: from the words of a config to those of blocks."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layout import Shapes, Views
from opticnerve.connectors.blocks.linear import ActivationKind
from opticnerve.errors import CheckpointError

_ACTIVATIONS: Mapping[str, ActivationKind] = MappingProxyType(
    {
        "gelu": "gelu",
        "gelu_new": "gelu_tanh",
        "gelu_pytorch_tanh": "gelu_tanh",
        "gelu_fast": "gelu_tanh",
        "quick_gelu": "quick_gelu",
        "relu": "relu",
        "relu2": "relu_squared",
        "silu": "silu",
        "swish": "silu",
        "hardswish": "hardswish",
    }
)


def activation(name: object) -> ActivationKind:
    """Turn transformers' name of a nonlinearity into ours.

    Raises:
        CheckpointError: no block has it.
    """
    if str(name) not in _ACTIVATIONS:
        raise CheckpointError(f'no block has the activation "{name}"; known: {", ".join(_ACTIVATIONS)}')
    return _ACTIVATIONS[str(name)]


def shape(shapes: Shapes, name: str) -> tuple[int, ...]:
    """Look the shape of a published tensor up.

    Raises:
        CheckpointError: it is not there.
    """
    if name not in shapes:
        raise CheckpointError(f"{name} is missing: the checkpoint is not whole, or of another family")
    return shapes[name]


def side(value: Any) -> int:  # noqa: ANN401
    """Return one side in pixels of a size that may be a number, a pair, or a mapping; 0 where there is none."""
    if isinstance(value, Mapping):
        sides = cast("Mapping[str, Any]", value)
        return int(sides.get("height") or sides.get("shortest_edge") or 0)
    if isinstance(value, list | tuple):
        return int(cast("list[Any]", value)[0])
    return int(value or 0)


def fixed_view(config: Config, *, policy: str = "", vision: str = "vision_config", num_prefix: int = 0) -> Views:
    """Describe a model that sees every image at one size, whatever its shape, as one view.

    Args:
        config: has image_size and patch_size.
        policy: in words; empty for "fixed N px".
        vision: where the encoder's settings are.
        num_prefix: tokens before the patches that reach the connector.
    """
    tile, patch = side(config.get(f"{vision}.image_size", 0)), side(config.get(f"{vision}.patch_size", 0))
    return Views(
        policy=policy or f"fixed {tile} px",
        patch_px=patch,
        tile_px=tile,
        is_one_view=tile > 0,
        num_prefix=num_prefix,
        tiling="plain" if tile else "",
        tiling_options={"height_px": tile, "width_px": tile} if tile else {},
    )
