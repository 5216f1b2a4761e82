"""Runs in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from opticnerve.train.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("worker.py")


def launch(recipe: Recipe, out: Path, *options: str, processes: int = 1, restarts: int = 0) -> subprocess.Popen[str]:
    """Start worker.py, under torchrun where there are several processes."""
    source = out.with_name(f"{out.name}.yaml")
    source.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    torchrun.append(f"--max-restarts={restarts}")
    command = [sys.executable, *(torchrun if processes > 1 else []), str(WORKER), str(source), str(out), *options]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}",
        "OMP_NUM_THREADS": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a run; return its exit code and what it printed."""
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def finish_well(process: subprocess.Popen[str]) -> None:
    code, output = finish(process)
    assert code == 0, output
