"""The golden folder: recorded outputs of the reference implementations."""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from opticnerve.checkpoints import load_published, published_tensors
from opticnerve.connectors import Connector, ConnectorSpec

FOLDER = Path(os.environ.get("OPTICNERVE_GOLDEN") or Path(__file__).parents[1] / "golden")


@dataclass(frozen=True)
class Case:
    """One recorded run of a reference implementation."""

    file: str
    method: str
    config: dict[str, Any]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Inputs, outputs and intermediates, without weights."""
        return {name: tensor for name, tensor in _load(self.file).items() if not name.startswith("weights.")}

    @property
    def weights(self) -> dict[str, Tensor]:
        """The reference's weights by their original key."""
        return {
            name.removeprefix("weights."): tensor
            for name, tensor in _load(self.file).items()
            if name.startswith("weights.")
        }

    @property
    def outputs(self) -> dict[str, Tensor]:
        """What the reference gave: "output", or "output.i" for image i."""
        return {name: tensor for name, tensor in self.tensors.items() if name.split(".")[0] == "output"}

    def grid_of(self, key: str = "grid") -> tuple[int, int]:
        """Rows and columns that the config names."""
        rows, cols = self.config[key]
        return rows, cols

    def connector(self, spec: ConnectorSpec, *, layout: str, vision_dim: int, llm_dim: int) -> Connector:
        """Build a connector, read the published weights into it, and prove that they can be written back."""
        connector = spec.build(vision_dim=vision_dim, llm_dim=llm_dim).eval()
        load_published(connector, self.weights, layout=layout)
        written = published_tensors(connector, layout=layout)
        assert written.keys() == self.weights.keys()
        assert all(torch.equal(written[name], tensor) for name, tensor in self.weights.items())
        return connector


@cache
def _load(file: str) -> dict[str, Tensor]:
    return load_file(FOLDER / file)


def index() -> dict[str, Any]:
    """The index of the folder."""
    return json.loads((FOLDER / "INDEX.json").read_text())


def tensor_cases() -> list[Case]:
    """Every case with tensors."""
    return [Case(entry["file"], entry["method"], entry["config"]) for entry in index()["tensor_cases"]]


def assert_close(got: Tensor, want: Tensor) -> None:
    """Compare whole tensors within the tolerance of the golden data."""
    assert got.shape == want.shape, f"shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    tolerance = 2e-5 * max(1.0, want.abs().max().item())
    error = (got - want).abs().max().item()
    assert error <= tolerance, f"differs by {error:.3g}, allowed {tolerance:.3g}"
