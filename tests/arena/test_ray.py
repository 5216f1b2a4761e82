import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pytest

from arena.small import small
from arena.test_run import Listener, contents
from opticnerve import cluster
from opticnerve.arena import ray_pool
from opticnerve.arena.config import ArenaConfig
from opticnerve.arena.pool import Said, Work, run_cells
from opticnerve.arena.ray_pool import NUM_TRIES, RayPool
from opticnerve.arena.run import run_arena
from opticnerve.arena.search import scored_cells
from opticnerve.cli.arena import EngineFlags, arena
from opticnerve.cluster import connected
from opticnerve.errors import ClusterError, SpecError
from opticnerve.train.errors import TrainingError

ONLY = ("divprune", "pool")


@pytest.fixture(scope="module", autouse=True)
def two_cpus() -> Generator[None]:
    """Two CPUs of this machine, whether it has them or not."""
    with connected(None, num_cpus=2):
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ArenaConfig:
    return small(tmp_path_factory.mktemp("config"), rates=[1.0], seeds=[0])


@pytest.fixture(scope="module")
def whole(config: ArenaConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The arena in one process."""
    out = tmp_path_factory.mktemp("whole")
    run_arena(config, out, only=ONLY, jobs=1)
    return out


def workers() -> list[psutil.Process]:
    """The processes of the cells that run now."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] == ["ray::_run"]:
                found.append(process)
        except psutil.Error:
            pass
    return found


def kill_a_worker(out: Path, killed: list[int]) -> None:
    """Kill the first worker that has begun to train."""
    until = monotonic() + 120
    while monotonic() < until and not list(out.glob("cells/*/log.jsonl")):
        sleep(0.01)
    for worker in workers()[:1]:
        killed.append(worker.pid)
        worker.kill()


def test_cells_whose_worker_is_killed_are_run_again_and_the_results_are_those_of_one_process(
    config: ArenaConfig, whole: Path, tmp_path: Path
) -> None:
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(tmp_path, killed))
    killer.start()
    listener = Listener()
    outcome = run_arena(config, tmp_path, only=ONLY, pool=RayPool(), listener=listener)
    killer.join()
    assert len(killed) == 1
    assert sorted(listener.names) == ["divprune-4x-seed0-rate1", "pool-4x-seed0-rate1"]
    assert [one["contender"] for one in outcome.results] == ["pool", "divprune"]
    assert contents(tmp_path) == contents(whole)


def test_an_arena_that_was_begun_in_one_process_goes_on_on_a_cluster(
    config: ArenaConfig, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_arena(config, tmp_path, only=ONLY, jobs=1, listener=Listener(stop_after=1))
    listener = Listener()
    run_arena(config, tmp_path, only=ONLY, pool=RayPool(jobs=1), listener=listener)
    assert (len(listener.old), len(listener.names)) == (1, 1)
    assert contents(tmp_path) == contents(whole)


def run_one(config: ArenaConfig, out: Path) -> None:
    cells = scored_cells(config, {f"{one.name}-{by}x": 1.0 for one in config.contenders for by in one.at})
    run_cells(config, cells[:1], out, pool=RayPool(), done=lambda *_: None)


@pytest.mark.slow
def test_a_cell_whose_workers_die_each_time_ends_the_arena(
    config: ArenaConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = str(tmp_path)

    def die(*_: Any) -> Said:
        Path(notes, str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    monkeypatch.setattr(ray_pool, "_run", die)
    with pytest.raises(
        TrainingError, match=r"cell none-1x-seed0-rate1: its worker died 3 times \(.*--jobs. Run the same"
    ):
        run_one(config, tmp_path)
    assert len(list(tmp_path.iterdir())) == NUM_TRIES == 3


def test_a_worker_that_is_asked_to_stop_is_like_one_that_dies(
    config: ArenaConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_pool, "_run", lambda *_: Said(kind="stopped", result={}, words=""))
    with pytest.raises(TrainingError, match=r"its worker died 3 times \(asked to stop\)"):
        run_one(config, tmp_path)


def test_what_goes_wrong_on_a_node_is_told_here(
    config: ArenaConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = config.stages[0].model_copy(update={"template": "plan"})
    broken = config.model_copy(update={"stages": (stage, config.stages[1])})
    with pytest.raises(TrainingError, match='cell none-1x-seed0-rate1: unknown chat template "plan"'):
        run_one(broken, tmp_path)

    def other_versions(*_: Any) -> Said:
        raise ModuleNotFoundError("No module named 'peft'")

    monkeypatch.setattr(ray_pool, "_run", other_versions)
    with pytest.raises(ClusterError, match=r"cannot run it \(No module named 'peft'\): install the same versions"):
        run_one(config, tmp_path)


def test_a_folder_that_the_nodes_do_not_share_is_found_out(
    config: ArenaConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SHARED_SECONDS", 0.1)
    monkeypatch.setattr(ray_pool, "_run", lambda *_: Said(kind="done", result={"a": 1}, words=""))
    with pytest.raises(
        ClusterError, match="result.json was written by a worker, but is not there on this machine: --out"
    ):
        run_one(config, tmp_path)


def test_cells_that_run_are_ended_when_the_arena_is(config: ArenaConfig, tmp_path: Path) -> None:
    pool, cells = RayPool(), scored_cells(config, {"none-1x": 1.0, "resized-4x": 1.0}, ["none", "resized"])
    assert pool.num_slots == 2
    assert RayPool(jobs=1).num_slots == 1
    for cell in cells:
        pool.start(Work(config=config, cell=cell, out=tmp_path))
    wait_for(workers)
    pool.stop()
    wait_for(lambda: not workers())
    assert not list(tmp_path.glob("cells/*/result.json"))


def wait_for(is_so: Callable[[], Any]) -> None:
    until = monotonic() + 120
    while not is_so():
        assert monotonic() < until
        sleep(0.02)


@pytest.mark.slow
def test_the_command_takes_an_address_for_a_cluster_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SpecError, match="--address is that of a Ray cluster: add --engine ray"):
        arena("quick", engine=EngineFlags(address="auto"))
    small(tmp_path, rates=[1.0], seeds=[0])
    out = str(tmp_path / "out")
    assert arena(str(tmp_path / "small.yaml"), out=out, only=("pool",), engine=EngineFlags(engine="ray")) == 0
    shown = capsys.readouterr()
    assert "pool (baseline)" in shown.out
    assert "1/1  pool-4x-seed0-rate1: " in shown.err


@pytest.mark.slow
def test_ctrl_c_ends_an_arena_on_a_cluster_with_code_130_and_leaves_no_process(tmp_path: Path) -> None:
    small(tmp_path)
    command = [sys.executable, "-m", "opticnerve", "arena", str(tmp_path / "small.yaml"), "--engine", "ray", "--out"]
    program = subprocess.Popen(
        [*command, str(tmp_path / "out")], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: list(tmp_path.glob("out/cells/*/log.jsonl")))
    started = psutil.Process(program.pid).children(recursive=True)
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does: every process of the group hears it
    _, shown = program.communicate(timeout=60)
    assert program.returncode == 130
    last = f"opticnerve: interrupted: cells that are done in {tmp_path}/out are kept; the same command goes on there"
    assert shown.splitlines()[-1] == last
    wait_for(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in started))
