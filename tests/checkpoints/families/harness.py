"""A family of transformers as a row: how to build a tiny one, and what its connector makes of which features."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from opticnerve import Grid
from opticnerve.connectors import TextTokens


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What their connector made of some features."""

    features: Tensor
    """(batch, positions, dim) in raster order, prefix tokens first."""
    grid: Grid
    output: Tensor
    """(batch, tokens, dim), in the order of our connector."""
    text: TextTokens | None = None
    """The instruction, for connectors that read one."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One row of the census, and one test."""

    name: str
    """As in the census."""
    layout: str
    """A key of `LAYOUTS`; a family with two connectors has two rows."""
    build: Callable[[], nn.Module]
    """A tiny model; its weights are made random by `tiny`."""
    record: Callable[[nn.Module], list[Recorded]]
    """Run their connector on fresh random features, one grid after another, odd ones included where they are taken."""
    loads_by_name: bool = False
    """Whether `layout` must be given to find the connector (several in one checkpoint)."""


def tiny(family: Family, *, seed: int = 0) -> Any:
    """Build a family's model with weights that hide nothing: norms are not 1 and 0, biases are not 0."""
    torch.manual_seed(seed)
    model = family.build().eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(1 + 0.3 * noise if is_norm else 0.2 * noise)
    return model


def features(*shape: int, seed: int = 2) -> Tensor:
    """Features whose tokens differ in size: for some the epsilon of a norm matters, for others the kind of GELU."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.logspace(-2.5, 0.5, shape[-2])[torch.randperm(shape[-2], generator=generator)]
    return torch.randn(*shape, generator=generator) * sizes[:, None]


def to_blocks(raster: Tensor, grid: Grid, *, side: int) -> Tensor:
    """Raster order to the order of Qwen's processor: block by block of side x side patches. (positions, dim)."""
    rows, cols = grid.rows // side, grid.cols // side
    split = raster.reshape(grid.frames, rows, side, cols, side, -1)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(-1, raster.shape[-1])


def save(model: Any, folder: Path) -> Path:
    """Save a model as transformers does."""
    model.save_pretrained(folder)
    return folder


def stored(folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a saved model."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def overlay(folder: Path, base: dict[str, Tensor], exported: Path) -> None:
    """Write into a saved model: everything of `base`, and over it what was exported."""
    old = stored(folder)
    new = load_file(exported)
    assert new.keys() <= old.keys(), sorted(new.keys() - old.keys())
    mixed = {name: new.get(name, base[name]) for name in old}
    for file in folder.glob("*.safetensors"):
        file.unlink()
    for file in folder.glob("*.index.json"):
        file.unlink()
    save_file(mixed, folder / "model.safetensors", metadata={"format": "pt"})


def close(got: Tensor, want: Tensor, *, to: float = 1e-5) -> bool:
    """Whether two outputs are equal up to rounding."""
    return got.shape == want.shape and float((got - want).abs().max()) <= to * max(1.0, float(want.abs().max()))
