"""Several processes over gloo on loopback. Numbers of one process and of two differ by rounding: losses by less than
1e-5 of themselves, weights by less than 2e-5."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from opticnerve.train.recipe import Recipe
from opticnerve.train.run import run
from train import tiny
from train.launch import finish, finish_well, launch

OPEN = {"connector": 1e-2, "llm": 5e-3, "encoder.layers.2": 1e-3}


def without_dropout(parts: Path, folder: Path, **changes: Any) -> Recipe:
    """Where a random mask falls depends on how the batch is cut; so here are none."""
    shutil.copytree(parts / "llm", folder / "llm")
    config = json.loads((folder / "llm" / "config.json").read_text())
    (folder / "llm" / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.0}))
    wanted = tiny.recipe(parts, tiny.stage(parts, open=OPEN, micro_batch_size=2, **changes))
    return wanted.model_copy(update={"model": wanted.model.model_copy(update={"llm": str(folder / "llm")})})


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def assert_close(one: Path, other: Path) -> None:
    assert tiny.losses(one) == pytest.approx(tiny.losses(other), rel=1e-5)
    # AdamW does not see how long gradients are: a wrong scale shows here.
    assert tiny.losses(one, "grad_norm") == pytest.approx(tiny.losses(other, "grad_norm"), rel=1e-3)
    torch.testing.assert_close(weights(one), weights(other), rtol=1e-3, atol=2e-5)


def assert_same(one: Path, other: Path) -> None:
    assert tiny.losses(one) == tiny.losses(other)
    a, b = weights(one), weights(other)
    assert set(a) == set(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_two_processes_train_as_one_and_can_be_resumed_as_one(parts: Path, tmp_path: Path) -> None:
    wanted = without_dropout(parts, tmp_path, steps=5)
    one, two, fewer = (tmp_path / name for name in ("one", "two", "fewer"))
    run(wanted, one)
    finish_well(launch(wanted, two, processes=2))
    assert_close(two, one)
    # As if the two had been killed after step 4.
    shutil.copytree(two, fewer, ignore=shutil.ignore_patterns("checkpoint-5", "model"))
    listener = tiny.Listener()
    run(wanted, fewer, progress=listener)
    assert [(step.step, listener.starts[0].num_processes) for step in listener.steps] == [(5, 1)]
    assert_close(fewer, one)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_that_were_killed_end_as_if_they_had_not_been(parts: Path, tmp_path: Path) -> None:
    wanted = without_dropout(parts, tmp_path, steps=5)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    finish_well(launch(wanted, straight, processes=2))
    code, output = finish(launch(wanted, killed, "--kill-at", "align", "3", processes=2))
    assert code != 0, output
    assert sorted(path.name for path in (killed / "1-align").glob("checkpoint-*")) == ["checkpoint-2"]
    finish_well(launch(wanted, killed, processes=2))
    assert_same(killed, straight)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_the_random_states_of_both_processes_come_back(parts: Path, tmp_path: Path, sharding: str) -> None:
    """With dropout, gradient checkpointing and accumulation; killed in the middle of a checkpoint."""
    stage = tiny.stage(parts, open=OPEN, micro_batch_size=1, sharding=sharding, gradient_checkpointing=True, steps=7)
    wanted = tiny.recipe(parts, stage)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    finish_well(launch(wanted, straight, processes=2))
    code, output = finish(launch(wanted, killed, "--kill-in-write", "12", processes=2))
    assert code != 0, output
    assert (killed / "1-align" / "checkpoint-2").is_dir()
    assert not (killed / "1-align" / "checkpoint-6").is_dir()
    finish_well(launch(wanted, killed, processes=2))
    assert_same(killed, straight)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_shared_out_weights_give_the_numbers_of_whole_ones(parts: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "ddp", tmp_path / "fsdp2"
    finish_well(launch(without_dropout(parts, tmp_path, steps=5), one, processes=2))
    (tmp_path / "b").mkdir()
    finish_well(launch(without_dropout(parts, tmp_path / "b", steps=5, sharding="fsdp2"), two, processes=2))
    assert_close(two, one)
    shards = sorted(path.name for path in (two / "1-align" / "checkpoint-4" / "shards").glob("*.distcp"))
    assert shards == ["__0_0.distcp", "__1_0.distcp"]
    sizes = [(two / "1-align" / "checkpoint-4" / "shards" / name).stat().st_size for name in shards]
    assert max(sizes) < 0.7 * sum(sizes)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_restarts_what_was_killed(parts: Path, tmp_path: Path) -> None:
    wanted = without_dropout(parts, tmp_path, steps=5)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    finish_well(launch(wanted, straight, processes=2))
    finish_well(launch(wanted, killed, "--kill-once-at", "align", "3", processes=2, restarts=1))
    assert_same(killed, straight)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_batch_that_cannot_be_shared_out_is_one_clear_error_in_all_processes(parts: Path, tmp_path: Path) -> None:
    wanted = without_dropout(parts, tmp_path, steps=1, batch_size=5)
    code, output = finish(launch(wanted, tmp_path / "out", processes=2))
    assert code != 0
    assert "a batch of 5 cannot be shared out among 2 processes: make batch_size a multiple." in output
