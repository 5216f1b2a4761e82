"""A saved model comes back as it was: in a fresh process, in pieces, in other types, with every encoder, twice."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor

from encoders import tiny as towers
from opticnerve.errors import CheckpointError, SpecError
from opticnerve.vlm import OpticNerveConfig, OpticNerveForConditionalGeneration
from vlm import tiny

SIZES = [(100, 200), (64, 64)]

FRESH = """
import sys, torch
import opticnerve
assert "torch" not in [name for name in sys.modules if name == "transformers"]
from transformers import AutoModelForImageTextToText, AutoProcessor
folder = sys.argv[1]
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForImageTextToText.from_pretrained(folder)
texts, pictures = torch.load(folder + "/asked.pt")
inputs = processor(text=texts, images=pictures, return_tensors="pt")
said = model.generate(**inputs, max_new_tokens=6, do_sample=False)
torch.save({"logits": model(**inputs).logits, "said": said, "text": processor.batch_decode(said)}, folder + "/told.pt")
print(type(model).__module__, type(processor).__module__)
"""


def test_a_fresh_process_says_the_same_bit_for_bit(llama: Path, tmp_path: Path) -> None:
    model, processor = tiny.small(llama, **tiny.ANYRES)
    texts, pictures = ["<image> and", "so <image>"], tiny.images(*SIZES)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    torch.save((texts, pictures), tmp_path / "asked.pt")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1"}
    run = [sys.executable, "-W", "error", "-c", FRESH, str(tmp_path)]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["opticnerve.vlm.causal", "opticnerve.vlm.processor"]
    told = torch.load(tmp_path / "told.pt")
    inputs = tiny.batch(processor, texts, pictures)
    assert torch.equal(told["logits"], model(**inputs).logits)
    assert torch.equal(told["said"], model.generate(**inputs, max_new_tokens=6, do_sample=False))
    assert told["text"] == processor.batch_decode(told["said"])


def saved_and_loaded(model: Any, folder: Path, **options: Any) -> Any:
    model.save_pretrained(folder, **options)
    return AutoModelForImageTextToText.from_pretrained(folder)


def same_weights(given: Any, wanted: Any) -> bool:
    own, other = given.state_dict(), wanted.state_dict()
    return own.keys() == other.keys() and all(torch.equal(own[key], other[key]) for key in own)


@pytest.mark.parametrize("name", [*towers.TOWERS, *towers.QWENS, "naflex", "idefics3"])
def test_any_encoder_comes_back_without_its_folder(llama: Path, tmp_path: Path, name: str) -> None:
    build = {**towers.TOWERS, **towers.QWENS, "naflex": towers.naflex, "idefics3": towers.idefics3}[name]
    folder = towers.save(towers.randomise(build()), tmp_path / "encoder")
    model, processor = tiny.small(
        llama, encoder=str(folder), layers=(-2,), tiling_options={"height_px": 28, "width_px": 28}
    )
    inputs = tiny.batch(processor, ["<image>"], tiny.images((28, 28)))
    wanted = model(**inputs).logits
    (folder / "config.json").unlink()
    again = saved_and_loaded(model, tmp_path / "model")
    assert same_weights(again, model)
    assert torch.equal(again(**inputs).logits, wanted)
    assert not again.training


@pytest.mark.parametrize("family", tiny.LLMS)
def test_any_language_model_comes_back(llm: Any, tmp_path: Path, family: str) -> None:
    model, processor = tiny.small(llm(family))
    inputs = tiny.batch(processor, ["a <image>"], tiny.images((64, 64)))
    again = saved_and_loaded(model, tmp_path)
    assert same_weights(again, model)
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    tied = [again.get_input_embeddings().weight, again.get_output_embeddings().weight]
    was_tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert (tied[0] is tied[1]) == was_tied


@pytest.mark.parametrize(
    "method", ["qformer", "perceiver", "c_abstractor", "d_abstractor", "ldpv2", "qwen_vl_resampler"]
)
def test_any_connector_comes_back(llama: Path, tmp_path: Path, method: str) -> None:
    model, processor = tiny.small(llama, method=method, tiling="plain", tiling_options={})
    inputs = tiny.batch(processor, ["a <image>"], tiny.images((64, 64)))
    again = saved_and_loaded(model, tmp_path)
    assert same_weights(again, model)
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)


def test_it_is_saved_in_pieces_and_saved_again_as_it_was(llama: Path, tmp_path: Path) -> None:
    model, _ = tiny.small(llama)
    again = saved_and_loaded(model, tmp_path / "pieces", max_shard_size="300KB")
    assert len(list((tmp_path / "pieces").glob("*.safetensors"))) > 2
    assert same_weights(again, model)
    twice = saved_and_loaded(again, tmp_path / "whole")
    assert same_weights(twice, model)
    assert load_file(tmp_path / "whole" / "model.safetensors").keys() == model.state_dict().keys()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_the_bytes_come_back_as_they_were(llama: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    model, processor = tiny.small(llama, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    again = saved_and_loaded(model, tmp_path)
    assert same_weights(again, model)
    inputs = tiny.batch(processor, ["a <image>"], tiny.images((64, 64)))
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    whole = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32)
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32}


def test_the_headless_model_reads_the_same_files(llama: Path, tmp_path: Path) -> None:
    model, processor = tiny.small(llama)
    model.save_pretrained(tmp_path)
    inputs = tiny.batch(processor, ["a <image>"], tiny.images((64, 64)))
    headless: Any = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(headless(**inputs).last_hidden_state, model.model(**inputs).last_hidden_state)


def test_a_model_of_a_config_alone_has_random_weights_everywhere(llama: Path) -> None:
    model, processor = tiny.small(llama)
    fresh = OpticNerveForConditionalGeneration(model.config).eval()
    assert all(torch.isfinite(parameter).all() for parameter in fresh.parameters())
    inputs = tiny.batch(processor, ["a <image>"], tiny.images((64, 64)))
    assert fresh(**inputs).logits.isfinite().all()


def test_on_the_meta_device_it_has_the_same_parameters_and_no_memory(llama: Path, tmp_path: Path) -> None:
    folder = towers.save(towers.randomise(towers.TOWERS["clip"]()), tmp_path)
    model, _ = tiny.small(llama, encoder=str(folder), layers=(-2,), tiling_options={"height_px": 28, "width_px": 28})
    with torch.device("meta"):
        sketch = OpticNerveForConditionalGeneration(model.config)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    assert {name: parameter.shape for name, parameter in sketch.named_parameters()} == shapes
    assert all(parameter.is_meta for parameter in sketch.parameters())


def test_weights_are_never_made_up(llama: Path, tmp_path: Path) -> None:
    model, _ = tiny.small(llama)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    name = next(key for key in weights if "multi_modal_projector" in key)
    save_file({key: value for key, value in weights.items() if key != name}, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=f'lacks 1 of the weights of its model, .* first "{name}": the files are'):
        AutoModelForImageTextToText.from_pretrained(tmp_path)


def test_loading_can_tell_what_it_found(llama: Path, tmp_path: Path) -> None:
    model, _ = tiny.small(llama)
    model.save_pretrained(tmp_path)
    _, info = OpticNerveForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_the_config_is_plain_data_without_a_place_on_this_machine(llama: Path, tmp_path: Path) -> None:
    folder = towers.save(towers.randomise(towers.TOWERS["siglip"]()), tmp_path / "encoder")
    model, processor = tiny.small(llama, encoder=str(folder), tiling_options={"height_px": 28, "width_px": 28})
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    for file in ("config.json", "processor_config.json"):
        assert str(tmp_path) not in (tmp_path / "model" / file).read_text()
        assert str(llama) not in (tmp_path / "model" / file).read_text()
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["model_type"] == "opticnerve"
    assert config["architectures"] == ["OpticNerveForConditionalGeneration"]


def test_a_config_with_a_hole_says_what_is_missing() -> None:
    with pytest.raises(SpecError, match='the config of a vision-language model lacks its "encoder": make one with'):
        OpticNerveForConditionalGeneration(OpticNerveConfig())


def test_the_processor_comes_back(llama: Path, tmp_path: Path) -> None:
    _, processor = tiny.small(llama, **tiny.ANYRES)
    processor.save_pretrained(tmp_path)
    again: Any = AutoProcessor.from_pretrained(tmp_path)
    assert again.chat_template == processor.chat_template
    assert again.image_processor.to_dict() == processor.image_processor.to_dict()
    assert again.image_token_id == processor.image_token_id
    assert again.tokenizer.padding_side == "left"
    given, wanted = (tiny.batch(each, ["a <image>", "b"], tiny.images((100, 200))) for each in (again, processor))
    assert given.keys() == wanted.keys()
    assert torch.equal(given["input_ids"], wanted["input_ids"])
    assert torch.equal(given["pixel_values"][0], wanted["pixel_values"][0])
