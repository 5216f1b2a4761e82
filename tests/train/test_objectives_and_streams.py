import json
import os
import signal
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from opticnerve.train import stage as stages
from opticnerve.train.errors import StoppedError, TrainingError
from opticnerve.train.objectives import LossSum, Objective, model_inputs, token_loss
from opticnerve.train.run import run
from train import tiny


class Scaled(Objective):
    """The usual loss, and a parameter that is drawn towards 3; it tells how many tokens it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(2))

    def forward(self, model: nn.Module, batch: Mapping[str, object]) -> LossSum:
        labels = batch["labels"]
        assert isinstance(labels, Tensor)
        total, count = token_loss(model(**model_inputs(batch), use_cache=False).logits, labels)
        pull = (self.scale - 3).square().sum() * count
        return LossSum(total=total + pull, count=count, logs={"ones": float(count), "halves": float(count) / 2})


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    builders = {**stages.OBJECTIVES, "answers": lambda settings, model, processor: Scaled()}
    monkeypatch.setattr(stages, "OBJECTIVES", builders)


class StopAt(tiny.Listener):
    def stepped(self, report: Any) -> None:
        super().stepped(report)
        if report.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("scaled")
def test_an_objectives_parameters_train_are_saved_and_carry_over(parts: Path, tmp_path: Path) -> None:
    open_rates = {"connector": 1e-2, "objective": 1e-1}
    one, two = tiny.stage(parts, open=open_rates), tiny.stage(parts, name="two", open={"connector": 1e-3}, steps=1)
    listener = tiny.Listener()
    recipe = tiny.recipe(parts, one, two)
    run(recipe, tmp_path / "straight", progress=listener)
    line = listener.starts[0].parts[-1]
    assert (line.name, line.parameters, line.trained, line.rate) == ("objective", 2, 2, 1e-1)
    assert listener.steps[0].rates == {"connector": 0.0, "objective": 0.0}
    assert listener.steps[1].rates == {"connector": 1e-2, "objective": 1e-1}
    assert listener.steps[0].extras == {"ones": 1.0, "halves": 0.5}
    learned = [load_file(tmp_path / "straight" / folder / "objective.safetensors") for folder in ("1-align", "2-two")]
    assert torch.equal(learned[0]["scale"], learned[1]["scale"])
    with pytest.raises(StoppedError):
        run(recipe, tmp_path / "stopped", progress=StopAt())
    run(recipe, tmp_path / "stopped")
    assert tiny.losses(tmp_path / "stopped") == tiny.losses(tmp_path / "straight")
    again = load_file(tmp_path / "stopped" / "1-align" / "objective.safetensors")
    assert torch.equal(again["scale"], learned[0]["scale"])


def test_an_objective_without_parameters_cannot_be_opened(parts: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match='"objective" is named as open, but it has no parameters'):
        run(tiny.recipe(parts, tiny.stage(parts, open={"connector": 1e-2, "objective": 1e-1})), tmp_path)


def shard(parts: Path, folder: Path) -> Path:
    """The tiny data as a tar file; one image is missing."""
    path = folder / "data.tar"
    with tarfile.open(path, "w") as tar:
        for record in json.loads((parts / "data.json").read_text()):
            text = folder / "record.json"
            text.write_text(json.dumps(record))
            tar.add(text, f"{record['id']}.json")
            if "image" in record and record["id"] != "5":
                tar.add(parts / "images" / record["image"], f"{record['id']}.png")
    return path


def test_a_stream_trains_and_goes_on_where_it_was(parts: Path, tmp_path: Path) -> None:
    data = [{"kind": "webdataset", "shards": str(shard(parts, tmp_path)), "streaming": True}]
    stage = tiny.stage(parts, data=data, open={"connector": 1e-2, "llm": 5e-3}, steps=8, micro_batch_size=2)
    recipe, listener = tiny.recipe(parts, stage, max_bad_share=0.1), tiny.Listener()
    run(recipe, tmp_path / "straight", progress=listener)
    assert listener.starts[0].num_samples == 0
    assert listener.steps[-1].loss < listener.steps[0].loss
    with pytest.raises(StoppedError):
        run(recipe, tmp_path / "stopped", progress=StopAt())
    run(recipe, tmp_path / "stopped")
    assert tiny.losses(tmp_path / "stopped") == tiny.losses(tmp_path / "straight")
    assert len((tmp_path / "straight" / "bad_samples.jsonl").read_text().splitlines()) == 1


def test_a_stream_has_no_epochs_and_no_groups(parts: Path, tmp_path: Path) -> None:
    data = [{"kind": "webdataset", "shards": str(shard(parts, tmp_path)), "streaming": True}]
    stage = tiny.stage(parts, data=data, steps=None, epochs=1)
    with pytest.raises(TrainingError, match='stage "align" reads a stream, whose length nobody knows: give steps'):
        run(tiny.recipe(parts, stage), tmp_path / "a")
    stage = tiny.stage(parts, data=data, group_by_length=True)
    with pytest.raises(TrainingError, match='stage "align" reads a stream, whose samples cannot be grouped by length'):
        run(tiny.recipe(parts, stage), tmp_path / "b")
