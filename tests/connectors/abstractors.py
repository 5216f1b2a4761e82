"""Abstractors small enough to test, on a grid that is not square."""

from typing import Any

import torch

import opticnerve as on

GRID = on.Grid(3, 5)


def c_abs(**options: Any) -> on.ConnectorSpec:
    return on.methods.c_abstractor(**{"out_grid": (2, 3), "hidden_dim": 8, "depth": 1, "pos_grid": (3, 5)} | options)


def d_abs(**options: Any) -> on.ConnectorSpec:
    small = {"query_grid": (2, 3), "hidden_dim": 8, "num_layers": 1, "num_heads": 2, "ffn_dim": 12, "pos_grid": (3, 5)}
    return on.methods.d_abstractor(**small | options)


def build(spec: on.ConnectorSpec, *, vision_dim: int = 8, llm_dim: int = 6) -> on.Connector:
    """A connector whose weights are far from their start."""
    connector = spec.build(vision_dim=vision_dim, llm_dim=llm_dim).eval()
    with torch.no_grad():
        for parameter in connector.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape))
    return connector
