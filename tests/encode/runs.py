"""Runs in processes of their own, which can be killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
if {on_ray}:
    from encode.ray_runs import on_cluster
    on_cluster(Path(sys.argv[1]), Path(sys.argv[2]), max_skipped=1.0)
else:
    from encode.pictures import encode
    encode(Path(sys.argv[1]), Path(sys.argv[2]), num_workers=1, max_skipped=1.0)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def start(photos: Path, out: Path, *, on_ray: bool = False) -> subprocess.Popen[bytes]:
    """Start a run in a process of its own, in a group with its workers."""
    program = PROGRAM.format(tests=str(ROOT / "tests"), on_ray=on_ray)
    command = [sys.executable, "-c", program, str(photos), str(out)]
    return subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL, start_new_session=True)


def kill_after(process: subprocess.Popen[bytes], out: Path, seconds: float) -> bool:
    """Kill a run some time after it has begun to write; tells whether it was still alive."""
    while process.poll() is None and not (out / "shards").is_dir():
        time.sleep(0.01)
    time.sleep(seconds)
    was_alive = process.poll() is None
    process.kill()
    process.wait()
    return was_alive
