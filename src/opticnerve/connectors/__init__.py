"""Connectors: from the many features of an encoder to the few visual tokens of a language model."""

from opticnerve.connectors import blocks, methods
from opticnerve.connectors.blocks import IN, LLM, VISION, TextTokens, Width
from opticnerve.connectors.budgets import with_budget, with_spec
from opticnerve.connectors.connector import Connector, GridConnector
from opticnerve.connectors.registry import METHODS, method, read_spec
from opticnerve.connectors.spec import ConnectorSpec

__all__ = [
    "IN",
    "LLM",
    "METHODS",
    "VISION",
    "Connector",
    "ConnectorSpec",
    "GridConnector",
    "TextTokens",
    "Width",
    "blocks",
    "method",
    "methods",
    "read_spec",
    "with_budget",
    "with_spec",
]
