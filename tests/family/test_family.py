"""The bundled models: what there is, and a folder that is put together with the bundled encoder's weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import opticnerve
from encoders.tiny import TOWERS, save
from family.tiny import save_llm
from opticnerve import METHODS
from opticnerve.errors import CheckpointError, UnknownNameError
from opticnerve.family import export, load, members, open_model
from opticnerve.vlm import assemble

QUESTION = "What color is the circle ?"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model over the bundled encoder, as training leaves it."""
    folder = tmp_path_factory.mktemp("trained")
    llm = save_llm(folder / "llm")
    model, processor = assemble(
        llm=llm, method="pixel_shuffle", method_options={"factor": 4}, encoder="bundled", template="plain", seed=3
    )
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def home(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    export(saved, "shuffled", card={"exact_match": 0.5}, folder=folder)
    return folder


def test_every_bundled_model_has_a_method_and_a_card():
    for name, member in members().items():
        assert member.name == name
        assert member.method in METHODS
        assert member.num_tokens >= 1
        assert member.card
        assert (member.folder / "model.safetensors").exists()


def test_the_weights_of_the_family_stay_below_12_mb_and_the_arenas_below_1():
    home = Path(opticnerve.__file__).parent
    sizes = {path.relative_to(home).parts[0]: 0 for path in home.rglob("*.safetensors")}
    for path in home.rglob("*.safetensors"):
        sizes[path.relative_to(home).parts[0]] += path.stat().st_size
    assert sizes.keys() == {"arena", "encoders", "family"}
    assert sizes["encoders"] + sizes["family"] < 12_000_000, "the encoder is a part of every member"
    assert sizes["arena"] < 1_000_000


def test_a_member_is_known_without_being_loaded(home: Path):
    (member,) = members(home).values()
    assert (member.name, member.method, member.card) == ("shuffled", "pixel_shuffle", {"exact_match": 0.5})
    model, processor = load("shuffled", home)
    assert member.num_params == sum(parameter.numel() for parameter in model.parameters())
    assert member.num_tokens == processor.num_image_tokens(*model.config.sight.info.native_px)


def test_members_come_from_most_tokens_to_fewest(home: Path, tmp_path: Path):
    for name, num_tokens in (("few", 1), ("many", 1000)):
        shutil.copytree(home / "shuffled", tmp_path / name)
        card = tmp_path / name / "member.json"
        card.write_text(json.dumps({**json.loads(card.read_text()), "num_tokens": num_tokens}))
    assert list(members(tmp_path)) == ["many", "few"]


def test_the_encoder_is_not_stored_twice(home: Path):
    stored = load_file(home / "shuffled" / "model.safetensors")
    assert stored
    assert not [key for key in stored if "vision_tower" in key]
    assert {value.dtype for value in stored.values()} == {torch.float16}


def test_a_member_is_the_model_that_was_exported_in_half_precision(saved: Path, home: Path):
    whole, _ = open_model(saved)
    member, _ = load("shuffled", home)
    assert not member.training
    weights, wanted = member.state_dict(), whole.state_dict()
    assert weights.keys() == wanted.keys()
    for key, value in weights.items():
        exact = wanted[key] if "vision_tower" in key else wanted[key].half().float()
        torch.testing.assert_close(value, exact, rtol=0, atol=0)


def test_a_member_answers(home: Path):
    model, processor = load("shuffled", home)
    image = torch.randint(0, 256, (3, 200, 300), dtype=torch.uint8)
    inputs = processor(text=f"<image>{QUESTION}", images=[image], return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert out.shape[1] > inputs["input_ids"].shape[1]


def test_loading_leaves_torchs_generator_as_it_was(home: Path):
    torch.manual_seed(5)
    load("shuffled", home)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))


def test_an_unknown_member_names_the_known(home: Path):
    with pytest.raises(UnknownNameError, match='unknown bundled model "shuffle". Did you mean shuffled'):
        load("shuffle", home)


def test_a_model_is_opened_by_name_by_folder_and_from_a_run(saved: Path, home: Path, tmp_path: Path):
    assert open_model("shuffled", home)[0].config.spec.name == "pixel_shuffle"
    shutil.copytree(saved, tmp_path / "run" / "model")
    assert open_model(tmp_path / "run")[0].config.spec.name == "pixel_shuffle"


@pytest.mark.parametrize("name", ["nothing", "/no/such/folder"])
def test_a_model_that_is_not_there_is_named(home: Path, name: str):
    with pytest.raises(CheckpointError, match=f'there is no model "{name}": name a folder .* bundled model .shuffled'):
        open_model(name, home)


def test_a_folder_of_another_kind_is_refused(saved: Path, home: Path, tmp_path: Path):
    save_llm(tmp_path / "llm")
    with pytest.raises(CheckpointError, match='cannot open the model ".*llm"'):
        open_model(tmp_path / "llm", home)


def test_a_trained_encoder_is_refused(saved: Path, tmp_path: Path):
    model, processor = open_model(saved)
    with torch.no_grad():
        next(model.parts["encoder"].parameters()).add_(1)
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    with pytest.raises(CheckpointError, match="has trained its encoder further .*leave it frozen"):
        export(tmp_path / "model", "x", card={}, folder=tmp_path / "models")


def test_weights_that_half_precision_cannot_hold_are_refused(saved: Path, tmp_path: Path):
    model, processor = open_model(saved)
    with torch.no_grad():
        next(model.parts["connector"].parameters()).fill_(1e6)
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    with pytest.raises(CheckpointError, match='weight "model.multi_modal_projector.* half precision cannot hold'):
        export(tmp_path / "model", "x", card={}, folder=tmp_path / "models")


def test_another_encoder_is_refused(tmp_path: Path):
    save(TOWERS["siglip"](), tmp_path / "siglip")
    model, processor = _with_encoder(tmp_path)
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    with pytest.raises(CheckpointError, match="has an encoder of its own: members of the family share the bundled one"):
        export(tmp_path / "model", "x", card={}, folder=tmp_path / "models")


def _with_encoder(folder: Path) -> Any:
    return assemble(llm=save_llm(folder / "llm"), encoder=str(folder / "siglip"), template="plain")
