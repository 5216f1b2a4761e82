import random
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from opticnerve.train.recipe import Recipe
from opticnerve.train.run import run
from train import tiny
from train.launch import finish, launch

OPEN = {"connector": 1e-2, "llm": 5e-3}


def recipe(parts: Path, *, steps: int) -> Recipe:
    """Two stages; the LLM has dropout."""
    one = tiny.stage(parts, open=OPEN, steps=steps, micro_batch_size=2)
    return tiny.recipe(parts, one, tiny.stage(parts, name="tune", open={"connector": 1e-3}, steps=2))


def assert_same(killed: Path, straight: Path) -> None:
    """Every loss and every weight, bit for bit."""
    assert tiny.losses(killed) == tiny.losses(straight)
    a, b = (load_file(out / "model" / "model.safetensors") for out in (killed, straight))
    assert set(a) == set(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_that_was_killed_twice_ends_as_if_it_had_not_been(parts: Path, tmp_path: Path) -> None:
    wanted = recipe(parts, steps=6)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    run(wanted, straight)
    code, output = finish(launch(wanted, killed, "--kill-at", "align", "3"))
    assert code == -signal.SIGKILL, output
    assert sorted(path.name for path in (killed / "1-align").iterdir()) == ["checkpoint-2"]
    # The second file that the second run flushes belongs to checkpoint-4: it is listed, and not yet renamed.
    code, output = finish(launch(wanted, killed, "--kill-in-write", "2"))
    assert code == -signal.SIGKILL, output
    assert sorted(path.name for path in (killed / "1-align").iterdir()) == ["checkpoint-2", "tmp-checkpoint-4"]
    listener = tiny.Listener()
    run(wanted, killed, progress=listener)
    assert listener.lines[0] == f"going on from {killed / '1-align' / 'checkpoint-2'}"
    assert_same(killed, straight)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_was_killed_twenty_times_ends_as_if_it_had_not_been(parts: Path, tmp_path: Path) -> None:
    wanted = recipe(parts, steps=120).model_copy(update={"save_every": 3})
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    run(wanted, straight)
    chance, done = random.Random(7), 0
    for _ in range(20):
        options = {
            "after a step": ["--kill-at", "align", str(done + chance.randint(1, 4))],
            "in a checkpoint": ["--kill-in-write", str(chance.randint(1, 14))],
            "at any moment": ["--kill-in-ms", str(chance.randint(1, 150))],
        }
        way = chance.choice(list(options))
        code, output = finish(launch(wanted, killed, *options[way]))
        assert code == -signal.SIGKILL, (way, output)
        done = max((step for _, step in tiny.losses(killed)), default=0)
    run(wanted, killed)
    assert_same(killed, straight)
