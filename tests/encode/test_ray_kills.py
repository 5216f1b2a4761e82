"""A cluster whose actors, drivers and nodes die at random moments leaves the bytes of a run that nobody disturbed."""

import random
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest

from encode.pictures import contents, encode, folder_of
from encode.ray_runs import actors, finished, on_cluster
from encode.runs import kill_after, start
from opticnerve.cluster import connected
from opticnerve.encode.verify import verify

pytestmark = pytest.mark.slow


class Killer(threading.Thread):
    """Kills actors at random moments for as long as a run lasts.

    Args:
        moments: gives the seconds between two kills, and the victims.
        most: kills at most so many.
    """

    def __init__(self, moments: random.Random, *, most: int) -> None:
        super().__init__(daemon=True)
        self.moments = moments
        self.most = most
        self.num_killed = 0
        self.is_over = threading.Event()

    def run(self) -> None:
        while self.num_killed < self.most and not self.is_over.wait(self.moments.uniform(0, 2.5)):
            found = actors()
            if found:
                self.moments.choice(found).kill()
                self.num_killed += 1


def test_thirty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 400), tmp_path / "out"
    (photos / "bad.png").write_bytes(b"bad")
    encode(photos, tmp_path / "whole", max_skipped=1.0)
    whole, moments = contents(tmp_path / "whole"), random.Random(0)
    num_killed = 0
    while num_killed < 6:  # the process that was started, and with it the cluster inside
        num_killed += kill_after(start(photos, out, engine="ray"), out, moments.uniform(0, 15))
        if (out / "manifest.parquet").exists():
            assert contents(out) == whole
            for made in (out / "shards").glob("*"):
                made.unlink()
    with connected(None, num_cpus=2):
        while num_killed < 30:
            killer = Killer(moments, most=30 - num_killed)
            killer.start()
            on_cluster(photos, out, max_skipped=1.0)
            killer.is_over.set()
            killer.join()
            num_killed += killer.num_killed
            assert contents(out) == whole
            for made in (out / "shards").glob("*") if num_killed < 30 else ():
                made.unlink()
    assert verify(out).faults == []


@pytest.mark.parametrize(("num_actors", "num_done"), [(1, 0), (2, 0), (2, 3)])
def test_a_node_that_dies_costs_its_shard_in_flight_and_nothing_else(
    tmp_path: Path, num_actors: int, num_done: int
) -> None:
    from ray.cluster_utils import Cluster

    photos, out = folder_of(tmp_path / "photos", 400), tmp_path / "out"
    encode(photos, tmp_path / "whole")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    # In a process of its own: one that has had a cluster inside cannot join another (Ray cancels its actors there).
    run = start(photos, out, engine=cluster.address)
    try:
        until = monotonic() + 60
        while monotonic() < until and (len(actors()) < num_actors or len(finished(out)) < num_done):
            sleep(0.005)
        assert len(actors()) >= num_actors
        written = {path: path.stat().st_mtime_ns for path in finished(out)}
        assert len(written) < 100
        cluster.remove_node(node, allow_graceful=False)
        assert run.wait(timeout=120) == 0
    finally:
        run.kill()
        cluster.shutdown()
    assert contents(out) == contents(tmp_path / "whole")
    # The shard whose end the node could not tell any more may have been encoded again; no other was touched.
    assert sum(path.stat().st_mtime_ns != time for path, time in written.items()) <= 1
