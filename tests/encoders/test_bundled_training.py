"""The bundled encoder's training repeats bit for bit, and goes on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.unchecked, pytest.mark.timeout(600)]

SCRIPT = Path(__file__).parents[2] / "scripts" / "bundled_encoder" / "train.py"


def start(out: Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--out", str(out), "--batch", "4", "--log-every", "1", *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def steps(out: Path) -> list[int]:
    log = out / "log.jsonl"
    return [json.loads(line)["step"] for line in log.read_text().splitlines()] if log.exists() else []


def test_two_runs_of_the_same_steps_give_the_same_bits(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert start(tmp_path / name, "--steps", "12").wait() == 0
    for file in ("weights.safetensors", "probe.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    run = start(tmp_path, "--steps", "40", "--export-every", "2")
    deadline = time.monotonic() + 300
    while not (tmp_path / "checkpoint.pt").exists() or len(steps(tmp_path)) < 3:
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.2)
    run.send_signal(signal.SIGKILL)
    run.wait()
    saved, logged = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"], len(steps(tmp_path))
    assert start(tmp_path, "--steps", "40").wait() == 0
    assert 0 < saved < 40
    assert steps(tmp_path)[logged] == saved + 1
    assert steps(tmp_path)[-1] == 40
