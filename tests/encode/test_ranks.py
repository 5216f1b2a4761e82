"""Under torchrun the shards are shared out, and the folder is that of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from encode.pictures import contents, encode, folder_of

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from encode.pictures import encode
from opticnerve.errors import OpticNerveError
try:
    summary = encode(Path(sys.argv[1]), Path(sys.argv[2]), max_skipped=float(sys.argv[3]))
    line = f"summary {{summary.done.num_images}} {{summary.num_images}}\\n"
    sys.stdout.write(line)  # in one piece
except OpticNerveError as error:
    sys.stdout.write(f"error {{error}}\\n")
    sys.exit(2)
"""


def launch(program: Path, photos: Path, out: Path, *, max_skipped: float = 1.0) -> "subprocess.CompletedProcess[str]":
    program.write_text(PROGRAM.format(tests=str(ROOT / "tests")))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [sys.executable, *torchrun, str(program), str(photos), str(out), str(max_skipped)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_two_processes_write_what_one_writes(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 14)
    (photos / "bad.png").write_bytes(b"bad")
    encode(photos, tmp_path / "one", max_skipped=1.0)
    result = launch(tmp_path / "program.py", photos, tmp_path / "two")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("summary 14 14") == 2
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    again = launch(tmp_path / "program.py", photos, tmp_path / "two")
    assert again.stdout.count("summary 0 14") == 2


@pytest.mark.slow
def test_what_the_first_process_finds_ends_both(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 3)
    (photos / "bad.png").write_bytes(b"bad")
    result = launch(tmp_path / "program.py", photos, tmp_path / "out", max_skipped=0)
    assert result.returncode != 0
    assert "error 1 of 4 pictures were skipped, more than max-skipped 0 allows" in result.stdout
