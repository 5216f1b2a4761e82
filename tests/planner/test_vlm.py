"""Whole models found by name, in folders, and in no place."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from opticnerve.errors import PlanError
from opticnerve.planner.vlm import find_model

TEXT = {
    "model_type": "qwen2",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 512,
}
SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}


def folder(path: Path, config: dict[str, Any], processor: dict[str, Any] | None = None) -> str:
    (path / "config.json").write_text(json.dumps(config))
    if processor:
        (path / "preprocessor_config.json").write_text(json.dumps(processor))
    return str(path)


def idefics3() -> dict[str, Any]:
    vision = {**SIGLIP, "model_type": "idefics3_vision"}
    return {"model_type": "idefics3", "vision_config": vision, "text_config": TEXT, "scale_factor": 2}


def test_the_owner_may_be_left_out() -> None:
    assert find_model("internvl3-8b").name == "OpenGVLab/InternVL3-8B"


def test_an_image_of_internvl3_is_told_exactly() -> None:
    look = find_model("OpenGVLab/InternVL3-8B").look(1500, 2000)
    assert (look.num_tiles, look.num_tokens, look.num_separators) == (13, 13 * 256, 2)


def test_pixels_of_the_finest_tiles_tell_the_zoom() -> None:
    assert find_model("Qwen/Qwen2.5-VL-7B-Instruct").look(1500, 2000).zoom == pytest.approx(1, rel=0.02)
    assert find_model("llava-hf/llava-1.5-7b-hf").look(1500, 2000).zoom < 0.25


def test_a_folder_with_settings_alone_is_read(tmp_path: Path) -> None:
    config = {
        "model_type": "llava",
        "vision_config": {**SIGLIP, "model_type": "clip_vision_model"},
        "text_config": TEXT,
        "vision_feature_layer": -2,
    }
    model = find_model(folder(tmp_path, config))
    assert model.look(300, 200).num_tokens == 16
    assert model.encoder.num_layers == 2
    assert model.llm.dim == 64


def test_the_processor_s_limits_in_a_folder_count(tmp_path: Path) -> None:
    processor = {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}}
    model = find_model(folder(tmp_path, idefics3(), processor))
    look = model.look(100, 100)
    assert look.num_tiles == 5
    assert look.num_tokens == 5 * 4
    assert look.num_separators == 5 * 2 + 3


def test_idefics3_without_its_processor_has_four_tiles_a_side(tmp_path: Path) -> None:
    assert find_model(folder(tmp_path, idefics3())).look(100, 100).num_tiles == 17


def test_qwen_in_a_folder_has_the_limits_of_its_processor(tmp_path: Path) -> None:
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2}
    config = {"model_type": "qwen2_vl", "vision_config": vision, "text_config": {**TEXT, "model_type": "qwen2_vl_text"}}
    model = find_model(folder(tmp_path, config, {"max_pixels": 448 * 448}))
    assert model.look(2240, 2240).num_tokens == 16 * 16
    assert model.look(2240, 2240).num_separators == 2


def test_images_of_a_video_model_are_not_planned_as_frames(tmp_path: Path) -> None:
    config = {
        "model_type": "llava_next_video",
        "vision_config": {**SIGLIP, "model_type": "clip_vision_model"},
        "text_config": TEXT,
        "vision_feature_layer": -2,
        "image_grid_pinpoints": [[56, 112], [112, 56]],
    }
    alone = find_model(folder(tmp_path, config)).look(100, 200)
    assert (alone.num_tiles, alone.num_tokens) == (3, 16 + 4 * (8 + 1))
    shapes = {"linear_1.weight": (64, 32), "linear_1.bias": (64,), "linear_2.weight": (64, 64), "linear_2.bias": (64,)}
    tensors = {f"multi_modal_projector.{name}": torch.zeros(shape) for name, shape in shapes.items()}
    save_file(tensors | {"image_newline": torch.zeros(64)}, tmp_path / "model.safetensors")
    assert find_model(str(tmp_path)).look(100, 200) == alone


def test_blip_2_in_a_folder_needs_no_settings_of_a_processor(tmp_path: Path) -> None:
    config = {
        "model_type": "blip-2",
        "vision_config": {**SIGLIP, "model_type": "blip_2_vision_model"},
        "text_config": {**TEXT, "model_type": "opt", "ffn_dim": 128, "word_embed_proj_dim": 64},
        "qformer_config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        "num_query_tokens": 8,
    }
    look = find_model(folder(tmp_path, config)).look(300, 200)
    assert (look.num_features, look.num_tokens) == (1 + 16, 8)


def test_the_tensors_of_an_original_release_tell_its_connector(tmp_path: Path) -> None:
    shapes = {"0.weight": (128,), "0.bias": (128,), "1.weight": (64, 128), "1.bias": (64,)}
    shapes |= {"3.weight": (64, 64), "3.bias": (64,)}
    save_file({f"mlp1.{name}": torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "model.safetensors")
    config = {
        "model_type": "internvl_chat",
        "vision_config": {**SIGLIP, "model_type": "intern_vit_6b", "qkv_bias": True, "norm_type": "layer_norm"},
        "llm_config": TEXT,
        "ps_version": "v2",
        "dynamic_image_size": True,
        "use_thumbnail": True,
        "max_dynamic_patch": 4,
        "force_image_size": 56,
    }
    look = find_model(folder(tmp_path, config)).look(100, 400)
    assert (look.num_tiles, look.num_tokens, look.num_separators) == (5, 20, 2)


def test_an_unknown_model_lists_the_nearest() -> None:
    with pytest.raises(
        PlanError, match=r'model "InternVL3-9B" is not in the catalogue. Nearest of \d+: OpenGVLab/Inte'
    ):
        find_model("InternVL3-9B")


def test_a_folder_without_settings_says_so(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="has no config.json: pass the folder of a model"):
        find_model(str(tmp_path))


def test_a_tiling_that_nobody_has_is_said_in_a_line(tmp_path: Path) -> None:
    config = {
        "model_type": "cohere2_vision",
        "vision_config": {**SIGLIP, "model_type": "siglip_vision_model"},
        "text_config": {**TEXT, "model_type": "cohere2"},
    }
    message = (
        r"cuts images in a way that no tiling does, .* \(tiles of 56 px, and a thumbnail after several\): plan its"
    )
    with pytest.raises(PlanError, match=message):
        find_model(folder(tmp_path, config))


def test_the_tiling_is_asked_for_before_the_encoder_is_built(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cuts images in a way that no tiling does"):
        find_model(folder(tmp_path, {"model_type": "glm4v"}))


def test_an_encoder_without_known_costs_says_what_to_do(tmp_path: Path) -> None:
    config = {"model_type": "video_llama_3", "vision_config": {"patch_size": 14}, "text_config": TEXT}
    message = r"what its encoder costs is not known: .* or plan its parts, .* \(--encoder, --method, --llm, --tiling\)"
    with pytest.raises(PlanError, match=message):
        find_model(folder(tmp_path, config))


def test_a_model_without_images_has_no_connector(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match='a "qwen2" model, is not known: no published layout has that model type'):
        find_model(folder(tmp_path, TEXT))


def test_an_original_release_without_tensors_asks_for_them(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="its config.json does not tell; put the release's safetensors files beside it"):
        find_model(folder(tmp_path, {"model_type": "internvl_chat", "llm_config": TEXT}))


def test_a_model_that_has_no_connector_says_why(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="its text decoder attends to the encoder's states, there is no connector"):
        find_model(folder(tmp_path, {"model_type": "blip"}))


def test_settings_that_do_not_tell_the_connector_are_said(tmp_path: Path) -> None:
    config = {**idefics3(), "model_type": "perception_lm", "vision_config": {}}
    with pytest.raises(PlanError, match="its connector cannot be read from config.json alone"):
        find_model(folder(tmp_path, config))


def test_tensors_of_no_known_connector_are_said(tmp_path: Path) -> None:
    save_file({"something.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(PlanError, match="is not known, so its tokens are not either"):
        find_model(folder(tmp_path, idefics3()))


def test_separators_of_minicpm_are_those_of_its_prompt() -> None:
    look = find_model("openbmb/MiniCPM-V-2_6").look(1000, 1500)
    rows = "\n".join(["<slice></slice>" * 4] * 2)
    words = re.findall(r"<[^>]+>|\d|\n", "<image_id>0</image_id><image></image>" + rows)
    assert look.num_tiles == 1 + 8
    assert look.num_separators == len(words)


def test_a_row_is_read_without_transformers() -> None:
    code = "import sys; from opticnerve.planner.vlm import find_model; find_model('InternVL3-8B').look(999, 777)"
    run = subprocess.run([sys.executable, "-c", f"{code}; assert 'transformers' not in sys.modules"], check=False)
    assert run.returncode == 0
