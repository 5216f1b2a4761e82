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
tests, engine, photos, out = sys.argv[1:]
sys.path.insert(0, tests)
from encode.pictures import encode
if engine == "local":
    encode(Path(photos), Path(out), num_workers=1, max_skipped=1.0)
else:
    from encode.ray_runs import on_cluster
    on_cluster(Path(photos), Path(out), max_skipped=1.0, address=None if engine == "ray" else engine)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def start(photos: Path, out: Path, *, engine: str = "local") -> subprocess.Popen[bytes]:
    """Start a run in a process of its own, in a group with its workers.

    Args:
        photos: folder of pictures.
        out: where they go.
        engine: "local", "ray", or the address of a Ray cluster.
    """
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "tests"), engine, str(photos), str(out)]
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
