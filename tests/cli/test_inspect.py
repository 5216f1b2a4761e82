"""`opticnerve inspect`, `extract` and `layouts` from the flags to the text, the JSON and the exit code."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlavaConfig

from cli.conftest import Run
from opticnerve import load_connector
from opticnerve.checkpoints import LAYOUTS, UNSUPPORTED


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    """A checkpoint with LLaVA's projector, and a language model that is not read."""
    folder = tmp_path / "llava"
    folder.mkdir()
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", "hidden_size": 24, "image_size": 56, "patch_size": 14},
        text_config={"model_type": "llama", "hidden_size": 40, "num_attention_heads": 2},
    )
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    shapes = {"linear_1.weight": (40, 24), "linear_1.bias": (40,), "linear_2.weight": (40, 40), "linear_2.bias": (40,)}
    tensors = {f"model.multi_modal_projector.{name}": torch.randn(*shape) for name, shape in shapes.items()}
    tensors["model.language_model.embed_tokens.weight"] = torch.zeros(64, 40)
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_inspect_shows_blocks_tokens_and_places(llava: Path, opticnerve: Run) -> None:
    code, out, err = opticnerve("inspect", llava)
    assert (code, err) == (0, "")
    for part in ("LLaVA", "layout llava", "Linear", "GELU", '"model.multi_modal_projector."', "model.safetensors (4)"):
        assert part in out
    assert "Tokens of a view of 56 px: 16" in out
    assert "Tokens of an image of 1344 x 896 px: 16" in out


def test_inspect_gives_the_same_as_json(llava: Path, opticnerve: Run) -> None:
    code, out, _ = opticnerve("inspect", llava, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["layout"] == "llava"
    assert document["num_params"] == 24 * 40 + 40 + 40 * 40 + 40
    assert [one["num_tokens"] for one in document["tokens"]] == [16, 16]
    assert document["tensors"][0]["file"] == "model.safetensors"
    assert [block["kind"] for block in document["connector"]["blocks"]] == ["linear", "activation", "linear"]


def test_extract_writes_a_connector_that_loads(llava: Path, opticnerve: Run, tmp_path: Path) -> None:
    code, out, err = opticnerve("extract", llava, "--out", tmp_path / "connector")
    assert (code, err) == (0, "")
    assert "Linear, GELU, Linear; 2,640 parameters" in out
    connector = load_connector(tmp_path / "connector")
    assert (connector.vision_dim, connector.llm_dim) == (24, 40)
    code, _, err = opticnerve("extract", llava, "--out", tmp_path / "connector")
    assert code == 2
    assert "connector is there already: name another folder with --out" in err


def test_what_holds_no_connector_is_refused_in_one_line(opticnerve: Run, tmp_path: Path) -> None:
    for given, part in ((tmp_path / "nothing", "there is no file or folder"), (tmp_path, "holds no safetensors files")):
        code, out, err = opticnerve("inspect", given)
        assert (code, out) == (2, "")
        assert part in err
        assert err.count("\n") == 1


def test_layouts_lists_all_of_them(opticnerve: Run) -> None:
    code, out, _ = opticnerve("layouts", "--json")
    document = json.loads(out)
    assert code == 0
    assert [row["layout"] for row in document["layouts"]] == list(LAYOUTS)
    assert document["not_supported"] == dict(UNSUPPORTED)
    code, out, _ = opticnerve("layouts")
    assert code == 0
    assert all(name in out for name in ("qwen2_vl", "mobilevlm_v2", "pix2struct"))
