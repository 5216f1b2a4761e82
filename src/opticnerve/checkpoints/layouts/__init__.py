"""Published layouts: how each family stores its connector."""

from collections.abc import Mapping
from types import MappingProxyType

from opticnerve.checkpoints.layout import Layout
from opticnerve.checkpoints.layouts import (
    convolutions,
    embedders,
    mergers,
    originals,
    own,
    projectors,
    queries,
    shuffles,
    windows,
)

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        layout.name: layout
        for module in (
            own,
            projectors,
            mergers,
            shuffles,
            convolutions,
            windows,
            embedders,
            queries,
            originals,
        )
        for layout in module.TABLE
    }
)
"""Every layout by its name."""

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "pix2struct": "its decoder attends to the encoder's states, there is no connector",
        "vision-encoder-decoder": "its decoder attends to the encoder's states, there is no connector",
        "udop": "its decoder attends to the encoder's states, there is no connector",
        "blip": "its text decoder attends to the encoder's states, there is no connector",
        "mistral4": "it is a language model without images",
    }
)
"""Model types that have no connector to read, and why."""

__all__ = ["LAYOUTS", "UNSUPPORTED"]
