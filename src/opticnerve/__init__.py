"""opticnerve: the part of a vision-language model between the vision encoder and the language model."""

from opticnerve import connectors
from opticnerve.connectors import IN, LLM, METHODS, VISION, Connector, ConnectorSpec, Width, method, methods
from opticnerve.errors import OpticNerveError
from opticnerve.grid import Grid, Queries

__version__ = "0.1.0"

__all__ = [
    "IN",
    "LLM",
    "METHODS",
    "VISION",
    "Connector",
    "ConnectorSpec",
    "Grid",
    "OpticNerveError",
    "Queries",
    "Width",
    "connectors",
    "method",
    "methods",
]
