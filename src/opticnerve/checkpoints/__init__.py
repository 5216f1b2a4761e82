"""Published connectors: found, read, made into modules, and written back."""

from collections.abc import Mapping

from torch import Tensor

from opticnerve.checkpoints.connector_files import export_connector, load_connector, save_connector
from opticnerve.checkpoints.entries import Entry, from_published, to_published
from opticnerve.checkpoints.files import Checkpoint, StoredTensor
from opticnerve.checkpoints.find import Match, find
from opticnerve.checkpoints.inspection import Inspection, inspect_checkpoint
from opticnerve.checkpoints.layout import Layout, Reading, Views
from opticnerve.checkpoints.layouts import LAYOUTS, UNSUPPORTED
from opticnerve.checkpoints.opening import open_checkpoint
from opticnerve.checkpoints.settings import read_settings
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
    state = connector.state_dict()
    connector.load_state_dict(from_published(_entries(connector, layout), tensors, state))


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
    spec = connector.spec.resolve(vision_dim=connector.vision_dim, llm_dim=connector.llm_dim)
    return LAYOUTS[name].list_entries(spec, connector.state_dict())


__all__ = [
    "LAYOUTS",
    "UNSUPPORTED",
    "Checkpoint",
    "Entry",
    "Inspection",
    "Layout",
    "Match",
    "Reading",
    "StoredTensor",
    "Views",
    "export_connector",
    "find",
    "inspect_checkpoint",
    "load_connector",
    "load_published",
    "open_checkpoint",
    "published_tensors",
    "read_settings",
    "save_connector",
]
