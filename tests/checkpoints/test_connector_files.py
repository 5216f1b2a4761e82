"""Connectors as files: saved, loaded, exported, found in models of this library."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from opticnerve import Connector, Grid, export_connector, inspect_checkpoint, load_connector, method, save_connector
from opticnerve.checkpoints import LAYOUTS
from opticnerve.checkpoints.layouts.own import CONNECTOR_MODEL_TYPE
from opticnerve.connectors import METHODS
from opticnerve.errors import CheckpointError, UnknownNameError


def make(name: str = "pixel_shuffle", **options: object) -> Connector:
    spec = method(name, **options)
    return spec.build(vision_dim=8 * spec.num_levels, llm_dim=12)


def same(one: Connector, other: Connector) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(
        torch.equal(mine[name], theirs[name]) and mine[name].dtype == theirs[name].dtype for name in mine
    )


SMALL: dict[str, dict[str, object]] = {
    "c_abstractor": {"hidden_dim": 16},
    "d_abstractor": {"hidden_dim": 16},
    "minicpm_resampler": {"head_dim": 4},
    "perceiver": {"num_heads": 2, "head_dim": 4, "depth": 1},
    "qformer": {"hidden_dim": 12, "num_layers": 2},
    "qwen_vl_resampler": {"head_dim": 4},
    "token_packer": {"hidden_dim": 16},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_saved_connector_of_any_method_comes_back_whole(name: str, tmp_path: Path) -> None:
    try:
        connector = make(name, **SMALL.get(name, {}))
    except UnknownNameError:
        connector = make(name)
    folder = save_connector(connector, tmp_path / "connector")
    again = load_connector(folder)
    assert same(again, connector)
    assert again.spec.resolve(vision_dim=again.vision_dim, llm_dim=12) == connector.spec.resolve(
        vision_dim=connector.vision_dim, llm_dim=12
    )
    assert not again.training
    assert json.loads((folder / "connector.json").read_text())["model_type"] == CONNECTOR_MODEL_TYPE


def test_stored_types_are_kept_unless_another_is_asked_for(tmp_path: Path) -> None:
    connector = make().to(torch.bfloat16)
    connector.blocks[1].float()  # a norm in float32, as some releases have it
    folder = save_connector(connector, tmp_path / "connector")
    assert same(load_connector(folder), connector)
    wide = load_connector(folder, dtype=torch.float32)
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float32}
    assert wide(torch.randn(1, 16, 8), Grid(4, 4)).shape == (1, 4, 12)


def test_a_folder_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "connector").mkdir()
    with pytest.raises(CheckpointError, match="connector is there already"):
        save_connector(make(), tmp_path / "connector")
    assert list((tmp_path / "connector").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="cannot write"):
        save_connector(make(), tmp_path / "connector")


def test_an_export_replaces_a_file_as_a_whole_and_has_the_prefix_of_the_release(tmp_path: Path) -> None:
    path = tmp_path / "mlp1.safetensors"
    path.write_bytes(b"old")
    connector = make()
    assert export_connector(connector, path, layout="internvl_chat") == path
    tensors = load_file(path)
    assert torch.equal(tensors["mlp1.1.weight"], connector.blocks[2].linear.weight)
    export_connector(connector, path, layout="internvl_chat", prefix="inner.")
    assert set(load_file(path)) == {f"inner.{name}" for name in tensors}
    assert [one.name for one in tmp_path.iterdir()] == ["mlp1.safetensors"]


def test_an_export_to_another_layout_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the connector"):
        export_connector(make(), tmp_path / "x.safetensors", layout="mobilevlm_v2")
    with pytest.raises(UnknownNameError, match='unknown layout "intern"'):
        export_connector(make(), tmp_path / "x.safetensors", layout="intern")
    assert list(tmp_path.iterdir()) == []


def test_an_inspection_reads_no_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_connector(make(), tmp_path / "connector")

    def refuse(*_: object) -> None:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr("opticnerve.checkpoints.files.Checkpoint.load", refuse)
    found = inspect_checkpoint(folder)
    assert found.layout.name == "opticnerve_connector"
    assert found.num_params == sum(parameter.numel() for parameter in make().parameters())
    assert {tensor.file for tensor in found.tensors} == {"model.safetensors"}
    assert found.tokens_per_tile is None
    assert found.num_tokens(448, 448) is None


def test_a_damaged_connector_says_which_tensor_is_wrong(tmp_path: Path) -> None:
    folder = save_connector(make(), tmp_path / "connector")
    tensors = load_file(folder / "model.safetensors")
    tensors["blocks.2.linear.weight"] = torch.zeros(12, 31)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"blocks\.2\.linear\.weight has shape \(12, 31\)"):
        load_connector(folder)


def test_every_layout_has_a_published_example() -> None:
    for name, layout in LAYOUTS.items():
        reading = layout.published()
        entries = layout.list_entries(reading.spec.resolve(vision_dim=reading.vision_dim, llm_dim=reading.llm_dim), [])
        assert layout.home == "opticnerve" or entries, name
