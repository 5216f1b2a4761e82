"""A connector moves from one saved model into another."""

from pathlib import Path

import pytest
import torch

from opticnerve import method
from opticnerve.checkpoints import load_connector
from opticnerve.errors import SpecError
from opticnerve.vlm import OpticNerveForConditionalGeneration, OpticNerveProcessor, assemble, graft
from vlm.tiny import PLAIN


def saved(folder: Path, llm: Path, name: str, *, seed: int = 0, **options: object) -> Path:
    parts = assemble(llm=llm, method=name, method_options=options, template="plain", seed=seed, **PLAIN)
    for part in parts:
        part.save_pretrained(folder)
    return folder


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_grafted_model_has_the_new_connector_and_its_old_eye_and_language(llama: Path, tmp_path: Path) -> None:
    giver = saved(tmp_path / "giver", llama, "pixel_shuffle", seed=1)
    taker = saved(tmp_path / "taker", llama, "mlp")
    before = OpticNerveForConditionalGeneration.from_pretrained(taker)
    connector = load_connector(giver)
    assert graft(taker, connector, out=tmp_path / "new") == tmp_path / "new"
    after = OpticNerveForConditionalGeneration.from_pretrained(tmp_path / "new")
    assert same(after.model.multi_modal_projector.connector, connector)
    assert same(after.parts["encoder"], before.parts["encoder"])
    assert same(after.parts["llm"], before.parts["llm"])
    counts = [OpticNerveProcessor.from_pretrained(path).num_image_tokens(64, 64) for path in (taker, tmp_path / "new")]
    assert counts == [16, 4]
    assert same(load_connector(tmp_path / "new"), connector)


def test_a_model_is_replaced_in_its_own_folder(llama: Path, tmp_path: Path) -> None:
    taker = saved(tmp_path / "taker", llama, "mlp")
    connector = method("pool").build(vision_dim=192, llm_dim=32)
    assert graft(taker, connector) == taker
    assert same(load_connector(taker), connector)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taker"]


def test_a_connector_of_other_widths_is_refused_and_the_model_stays(llama: Path, tmp_path: Path) -> None:
    taker = saved(tmp_path / "taker", llama, "mlp")
    files = {path.name: path.read_bytes() for path in taker.iterdir()}
    with pytest.raises(SpecError, match="takes features of 24 channels and gives tokens of 32, but the model's"):
        graft(taker, method("mlp").build(vision_dim=24, llm_dim=32))
    with pytest.raises(SpecError, match="gives tokens of 48, but the model's encoder gives 192 and its LLM takes 32"):
        graft(taker, method("mlp").build(vision_dim=192, llm_dim=48))
    with pytest.raises(SpecError, match="the connector cannot take what this model's encoder gives: cannot merge"):
        graft(taker, method("pixel_shuffle", factor=3).build(vision_dim=192, llm_dim=32))
    assert {path.name: path.read_bytes() for path in taker.iterdir()} == files
    assert [path.name for path in tmp_path.iterdir()] == ["taker"]


def test_what_is_there_is_not_overwritten_and_what_is_not_there_is_named(llama: Path, tmp_path: Path) -> None:
    connector = method("mlp").build(vision_dim=192, llm_dim=32)
    with pytest.raises(SpecError, match="there is no model in"):
        graft(tmp_path, connector)
    taker = saved(tmp_path / "taker", llama, "mlp")
    (tmp_path / "new").mkdir()
    with pytest.raises(SpecError, match="new is there already"):
        graft(taker, connector, out=tmp_path / "new")
