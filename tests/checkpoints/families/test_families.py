"""Every family of transformers that is in the table: read from its folder, run, and written back."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from checkpoints.families.harness import Family, close, overlay, save, stored, tiny
from opticnerve.checkpoints import export_connector, inspect_checkpoint, load_connector

MODULES = ("projectors", "mergers", "shuffles", "convolutions", "windows", "embedders", "queries")
HERE = Path(__file__).parent
FAMILIES: list[Family] = [
    row
    for name in MODULES
    if (HERE / f"{name}.py").is_file()
    for row in import_module(f"checkpoints.families.{name}").ROWS
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.name}-{family.layout}")
@torch.no_grad()
def test_a_family_is_read_run_and_written_back(family: Family, tmp_path: Path) -> None:
    model = tiny(family)
    folder = save(model, tmp_path / "model")
    name = {"layout": family.layout} if family.loads_by_name else {}
    found = inspect_checkpoint(folder, **name)
    assert family.layout in (found.layout.name, *found.same)
    connector = load_connector(folder, **name)
    records = family.record(model)
    assert records
    for one in records:
        got = connector(one.features, one.grid, text=one.text)
        assert got.shape == one.output.shape, f"{tuple(got.shape)} for {tuple(one.output.shape)} on {one.grid}"
        assert got.shape[1] == found.spec.num_tokens(one.grid)
        assert close(got, one.output), f"{float((got - one.output).abs().max())} on {one.grid}"
    _written_back(family, model, folder, tmp_path, found.prefix, connector, name)


def _written_back(
    family: Family, model: Any, folder: Path, tmp_path: Path, prefix: str, connector: Any, name: dict[str, str]
) -> None:
    before = stored(folder)
    exported = export_connector(connector, tmp_path / "connector.safetensors", layout=family.layout, prefix=prefix)
    for key, tensor in load_file(exported).items():
        assert torch.equal(tensor, before[key]), key
        assert tensor.dtype == before[key].dtype, key
    other = tiny(family, seed=7)
    theirs = save(other, tmp_path / "other")
    overlay(theirs, before, exported)
    again = type(model).from_pretrained(theirs).eval()
    mine = model.state_dict()
    assert all(torch.equal(tensor, mine[key]) for key, tensor in again.state_dict().items() if key in mine)
    for one, two in zip(family.record(model), family.record(again), strict=True):
        assert torch.equal(one.output, two.output)
    assert load_connector(theirs, **name).spec == connector.spec
