"""Names to models: the catalogue, a folder, and what is said when there is neither."""

import json
from pathlib import Path

import pytest

from opticnerve.errors import CheckpointError, GridError, PlanError, UnknownNameError
from opticnerve.planner.catalogue import encoders, llms
from opticnerve.planner.choice import Choice
from opticnerve.planner.lookup import find_encoder, find_llm
from planner.parts import SETTINGS


def test_the_owner_and_capitals_may_be_left_out() -> None:
    whole = find_llm("Qwen/Qwen3-4B")
    assert find_llm("qwen3-4b") == find_llm("QWEN/QWEN3-4B") == whole
    assert whole.name == "Qwen/Qwen3-4B"


def test_a_folder_with_a_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    found = find_llm(str(tmp_path))
    assert (found.dim, len(found.layers), found.vocab) == (256, 4, 1000)


def test_what_a_config_does_not_say_is_named(tmp_path: Path) -> None:
    settings = {key: value for key, value in SETTINGS.items() if key not in ("model_type", "hidden_size")}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(PlanError, match='its config.json does not say "hidden_size", which its cost needs'):
        find_llm(str(tmp_path))


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"has no config\.json: pass the folder of a model, or a name on the hub"):
        find_llm(str(tmp_path))


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(PlanError, match=rf'LLM "Qwen3-4BB" is not in the catalogue. Nearest of {len(llms())}: Qwen/'):
        find_llm("Qwen3-4BB")
    with pytest.raises(PlanError, match=rf'encoder "sigblip" is not in the catalogue. Nearest of {len(encoders())}: '):
        find_encoder("sigblip")


def test_reading_settings_says_what_is_not_there(tmp_path: Path) -> None:
    from opticnerve.checkpoints import read_settings

    with pytest.raises(CheckpointError, match='there is no folder "./nowhere": pass a folder with a config.json'):
        read_settings("./nowhere")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_settings(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 64}))
    assert read_settings(tmp_path)["num_hidden_layers"] == 32, "transformers leaves its defaults out of the file"


def test_a_choice_fits_its_parts_to_each_other() -> None:
    model = Choice(encoder="bundled", llm="Qwen/Qwen3-4B", method="pixel_shuffle").build()
    assert model.sight.tiling.to_dict()["tile_px"] == 256
    assert model.vision_dim == model.encoder.info.dim
    assert model.name == "bundled, internvl, pixel_shuffle, Qwen3-4B"
    levels = Choice(method="token_packer", tiling="plain").build()
    assert levels.vision_dim == levels.spec.num_levels * model.vision_dim


def test_a_choice_of_what_there_is_not_is_refused() -> None:
    with pytest.raises(UnknownNameError, match='unknown method "pixel_shufle". Did you mean pixel_shuffle'):
        Choice(method="pixel_shufle").build()
    with pytest.raises(UnknownNameError, match='unknown tiling "intern". Did you mean internvl'):
        Choice(tiling="intern").build()


def test_a_method_that_cannot_divide_the_grid_pads_it_and_says_so() -> None:
    model = Choice(encoder="google/siglip2-so400m-patch14-384").build()
    assert model.notes == ("pixel_shuffle does not divide 27 x 27 features: planned with --method.odd pad",)
    assert model.look(384, 384).num_tokens == 14 * 14
    own = Choice(encoder="google/siglip2-so400m-patch14-384", method="pool", method_options={"odd": "drop"}).build()
    assert (own.notes, own.look(384, 384).num_tokens) == ((), 13 * 13)
    strict = Choice(encoder="google/siglip2-so400m-patch14-384", method_options={"odd": "error"}).build()
    with pytest.raises(GridError, match="cannot merge a 27 x 27 grid by 2"):
        strict.look(384, 384)
    assert Choice(encoder="bundled").build().notes == ()
