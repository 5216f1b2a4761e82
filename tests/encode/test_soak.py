"""Twenty thousand images: memory does not grow with their number."""

import io
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import psutil
import pytest

from encode.pictures import picture
from opticnerve.encode.verify import verify

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from encode.pictures import FEATURES, encode
encode([sys.argv[1]], Path(sys.argv[2]), FEATURES, num_workers=1, shard_size=1000)
"""
COUNT = 20_000


def draw(folder: Path) -> str:
    """Small pictures of twelve sizes in tar files: all different, by a byte behind the end of the picture."""
    kinds = [picture(seed, height=24 + 8 * (seed % 4), width=24 + 8 * (seed % 3)) for seed in range(12)]
    for part in range(4):
        with tarfile.open(folder / f"{part:02}.tar", "w") as file:
            for index in range(part * COUNT // 4, (part + 1) * COUNT // 4):
                data = kinds[index % 12] + index.to_bytes(4, "little")
                info = tarfile.TarInfo(f"{index:06}.png")
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return str(folder / "{00..03}.tar")


def memory(process: psutil.Process) -> int:
    """Bytes of a process and its workers; what they share counts twice, whoever else maps the same libraries."""
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_stays_flat_over_twenty_thousand_images(tmp_path: Path) -> None:
    source = draw(tmp_path)
    command = [sys.executable, "-c", PROGRAM.format(tests=str(ROOT / "tests")), source, str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    seen: list[tuple[int, int]] = []
    while process.poll() is None:
        try:
            done = len(list((tmp_path / "out" / "shards").glob("????????.parquet")))
            seen.append((done, memory(psutil.Process(process.pid))))
        except psutil.Error:
            continue
        time.sleep(0.2)
    assert process.returncode == 0
    early = max(size for done, size in seen if 2 <= done <= 5)
    late = max(size for done, size in seen if 15 <= done <= 19)
    print(f"peak with 2-5 shards done {early / 2**20:.0f} MiB, with 15-19 done {late / 2**20:.0f} MiB")  # noqa: T201
    assert late < 1.05 * early
    found = verify(tmp_path / "out")
    assert (found.faults, found.num_images) == ([], COUNT)
