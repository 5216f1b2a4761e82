"""Published connectors: their tensors in and out."""

from collections.abc import Mapping

from torch import Tensor

from opticnerve.checkpoints.entries import Entry, from_published, to_published
from opticnerve.checkpoints.layouts import LAYOUTS, Layout
from opticnerve.connectors import Connector
from opticnerve.errors import UnknownNameError


def load_published(connector: Connector, tensors: Mapping[str, Tensor], *, layout: str) -> None:
    """Read published tensors into a connector.

    Args:
        connector: built with the widths and options of the checkpoint.
        tensors: the published tensors, the prefix of the whole model taken off.
        layout: a key of `LAYOUTS`.

    Raises:
        UnknownNameError: no such layout.
        CheckpointError: a tensor is missing, left over, or of another shape; the connector is unchanged.
    """
    entries = _entries(connector, layout)
    connector.load_state_dict(from_published(entries, tensors, connector.state_dict()))


def published_tensors(connector: Connector, *, layout: str) -> dict[str, Tensor]:
    """Return a connector's weights under their published names: the inverse of `load_published`.

    Args:
        connector: the connector.
        layout: a key of `LAYOUTS`.

    Raises:
        UnknownNameError: no such layout.
        CheckpointError: the layout is not that of a connector of these blocks.
    """
    return to_published(_entries(connector, layout), connector.state_dict())


def _entries(connector: Connector, name: str) -> tuple[Entry, ...]:
    if name not in LAYOUTS:
        raise UnknownNameError("layout", name, LAYOUTS)
    return LAYOUTS[name](connector.spec.resolve(vision_dim=connector.vision_dim, llm_dim=connector.llm_dim))


__all__ = ["LAYOUTS", "Entry", "Layout", "load_published", "published_tensors"]
