import os
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest

from encode.pictures import FEATURES, TOKENS, contents, encode, folder_of, manifest
from encode.ray_runs import actors, on_cluster, wait_for_shards
from opticnerve.cluster import connected
from opticnerve.encode.encoding import Encoding
from opticnerve.encode.engine import Work, encode_locally
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.on_ray import Pool, RayEngine, divide
from opticnerve.encode.run import Limits, encode_pictures
from opticnerve.encode.shard import ShardEncoder, Step
from opticnerve.errors import ClusterError

ENGINE = RayEngine()


@pytest.fixture(scope="module")
def two_cpus() -> Generator[None]:
    """Two CPUs of this machine, whether it has them or not."""
    with connected(None, num_cpus=2):
        yield


def kill_an_actor(out: Path, killed: list[int]) -> None:
    """Kill an actor when the first shards are finished and others are not."""
    wait_for_shards(out, 3)
    for actor in actors()[:1]:
        killed.append(actor.pid)
        actor.kill()


@pytest.mark.usefixtures("two_cpus")
def test_an_actor_that_is_killed_costs_a_shard_in_flight_and_the_bytes_are_those_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # paths are relative to where the command is given, on every node
    photos, killed = folder_of(Path("photos"), 80), list[int]()
    (photos / "bad.png").write_bytes(b"bad")
    encode(photos, tmp_path / "local", max_skipped=1.0)
    killer = threading.Thread(target=kill_an_actor, args=(tmp_path / "ray", killed))
    killer.start()
    summary = on_cluster(photos, Path("ray"), max_skipped=1.0)
    killer.join()
    assert len(killed) == 1
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert (summary.num_images, summary.num_skipped) == (80, 1)
    assert (summary.done.num_images, summary.done.num_skipped) == (80, 1)
    assert summary.done.num_rows == sum(row["num_rows"] for row in manifest(tmp_path / "ray"))


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_a_cluster_finishes_what_this_machine_began_and_decodes_in_processes_beside_it(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", 12)
    encode(photos, tmp_path / "local", TOKENS)
    encode(photos, tmp_path / "ray", TOKENS)
    (tmp_path / "ray" / "shards" / "00000001.parquet").unlink()
    assert on_cluster(photos, tmp_path / "ray", TOKENS, num_workers=1).done.num_images == 4
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_a_shard_that_takes_its_actors_down_ends_the_run_and_the_next_run_counts_anew(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 12), tmp_path / "out"

    class Deadly(Work):  # not at the top of a module: Ray sends it along
        def encoder(self, encoding: Encoding | None = None) -> ShardEncoder:
            found = super().encoder(encoding)
            run = found.run
            found.run = lambda shards: run(os.kill(os.getpid(), 9) if one.number == 1 else one for one in shards)
            return found

    def deadly(work: Work, shards: Sequence[int], encoding: Encoding) -> Iterator[Step]:
        parts = {field.name: getattr(work, field.name) for field in fields(work)}
        return ENGINE(Deadly(**parts), shards, encoding)

    limits = Limits(shard_size=4, num_workers=0)
    with pytest.raises(EncodeError, match="shard 1 was begun 4 times, and each time its process died: memory may be"):
        encode_pictures([str(photos)], out, FEATURES, limits=limits, engine=deadly)
    assert not (out / "shards" / "00000001.parquet").exists()
    assert on_cluster(photos, out).num_images == 12


@pytest.mark.usefixtures("two_cpus")
def test_what_goes_wrong_in_an_actor_is_one_line_here(tmp_path: Path) -> None:
    photos, out = folder_of(tmp_path / "photos", 4), tmp_path / "out"

    def elsewhere(work: Work, shards: Sequence[int], encoding: Encoding) -> Iterator[Step]:
        return ENGINE(replace(work, settings=replace(FEATURES, model="nobody")), shards, encoding)

    with pytest.raises(EncodeError, match="there is no model"):
        encode_pictures([str(photos)], out, FEATURES, limits=Limits(num_workers=0), engine=elsewhere)


@pytest.mark.parametrize(
    ("nodes", "num_workers", "on_gpus", "wanted"),
    [
        ([{"CPU": 2.0}], 0, True, (2, 1, 0)),
        ([{"CPU": 2.0}], 1, True, (1, 2, 0)),
        ([{"CPU": 16.0}, {"CPU": 4.0}], 7, True, (5, 4, 0)),
        ([{"CPU": 64.0, "GPU": 8.0}], 8, True, (8, 8, 1)),
        ([{"CPU": 64.0, "GPU": 8.0}, {"CPU": 96.0}], 3, True, (8, 4, 1)),
        ([{"CPU": 2.0, "GPU": 4.0}], 8, True, (2, 1, 1)),
        ([{"CPU": 64.0, "GPU": 8.0}], 7, False, (8, 8, 0)),
        ([{"memory": 1.0}, {"CPU": 3.0}], 0, True, (3, 1, 0)),
    ],
)
def test_a_cluster_is_divided_by_its_gpus_or_else_by_its_cpus(
    nodes: list[dict[str, float]], num_workers: int, on_gpus: bool, wanted: tuple[int, int, int]
) -> None:
    actors, cpus, gpus = wanted
    found = divide(nodes, num_workers=num_workers, on_gpus=on_gpus)
    assert found == Pool(num_actors=actors, num_cpus=cpus, num_gpus=gpus)


def test_a_cluster_without_cpus_is_refused() -> None:
    with pytest.raises(ClusterError, match="no node of the Ray cluster has a CPU"):
        divide([{"GPU": 8.0}], num_workers=1, on_gpus=True)


def test_the_engines_take_the_same_arguments() -> None:
    from opticnerve.encode.engine import Engine

    assert isinstance(ENGINE, Engine)
    assert isinstance(encode_locally, Engine)


class Failing:
    """Stands for a cluster that finishes some shards each time it is asked, and then fails."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = iter(counts)
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, work: Work, shards: Sequence[int]) -> Iterator[Step]:
        from ray.exceptions import ActorDiedError

        self.asked.append(tuple(shards))
        done = shards[: next(self.counts)]
        yield from (Step(num_images=4, finished=number) for number in done)
        if len(done) < len(shards):
            raise ActorDiedError


def shards_of(failing: Failing, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    monkeypatch.setattr("opticnerve.encode.on_ray.encode_on_ray", failing)
    monkeypatch.setattr("opticnerve.encode.on_ray._PAUSE_SECONDS", 0.0)
    work = Work(settings=FEATURES, sources=(), folder=Path(), num_workers=0)
    return [step.finished for step in ENGINE(work, range(5), FEATURES.load())]


@pytest.mark.usefixtures("two_cpus")
def test_where_ray_itself_fails_it_is_asked_anew_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing([2, 0, 0, 1, 2])
    assert shards_of(failing, monkeypatch) == [0, 1, 2, 3, 4]
    assert failing.asked == [(0, 1, 2, 3, 4), *[(2, 3, 4)] * 3, (3, 4)]


@pytest.mark.usefixtures("two_cpus")
def test_ray_that_fails_again_and_again_ends_the_run_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ClusterError, match="Ray failed 4 times, and finished no shard in between: .*same command again"
    ):
        shards_of(Failing([1, 0, 0, 0]), monkeypatch)
