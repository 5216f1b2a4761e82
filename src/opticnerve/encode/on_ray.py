"""Shards on a Ray cluster: Ray Data with a pool of actors, each of which loads the encoder once.

Ray begins a dead actor anew, on another node if it has to, and gives it the shard again that it had in flight
(`max_restarts` and `max_task_retries` are -1, as Ray Data has them); `NUM_TRIES` counts for each shard.
"""

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep
from typing import Any, cast

from opticnerve.cluster import check_shared, connected, enter, load_ray
from opticnerve.data.stored.format import SHARDS, SOURCES, table_path
from opticnerve.encode.encoding import Encoding
from opticnerve.encode.engine import Work
from opticnerve.encode.errors import EncodeError
from opticnerve.encode.listing import Listing, read_listing
from opticnerve.encode.shard import ShardEncoder, Step
from opticnerve.errors import ClusterError, OpticNerveError, first_line

NUM_TRIES = 4
"""Times that a shard is begun before the death of its actors ends the run, and that Ray itself may fail in a row."""
_PAUSE_SECONDS = 3.0
"""That a cluster is given to notice what has died."""
_SHARDS_TOGETHER = 10_000
"""Shards that Ray holds as tasks; then comes the next lot."""
_COUNTS = ("num_images", "num_tiles", "num_rows", "num_skipped")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """How a cluster is divided into actors."""

    num_actors: int
    """All of them."""
    num_cpus: int
    """Of an actor: one that encodes, and one for each process that decodes."""
    num_gpus: int
    """Of an actor: one where the cluster has any, else none."""


def divide(nodes: Sequence[Mapping[str, float]], *, num_workers: int, on_gpus: bool) -> Pool:
    """Divide a cluster into actors: one for each GPU, or else as many as there are CPUs for.

    Args:
        nodes: "CPU" and "GPU" of each.
        num_workers: processes that decode, beside each that encodes; fewer where a node has not so many CPUs.
        on_gpus: use the GPUs, where there are any.

    Raises:
        ClusterError: no node has a CPU.
    """
    hosts = [node for node in nodes if node.get("CPU", 0) >= 1]
    with_gpu = [node for node in hosts if node.get("GPU", 0) >= 1] if on_gpus else []
    if with_gpu:
        fitting = min(int(node["CPU"] // int(node["GPU"])) for node in with_gpu)
        num_cpus = max(min(1 + num_workers, fitting), 1)
        num_actors = sum(int(min(node["GPU"], node["CPU"] // num_cpus)) for node in with_gpu)
        return Pool(num_actors=num_actors, num_cpus=num_cpus, num_gpus=1)
    if not hosts:
        raise ClusterError("no node of the Ray cluster has a CPU: start one with `ray start` and `--num-cpus N`")
    num_cpus = min(1 + num_workers, *(int(node["CPU"]) for node in hosts))
    return Pool(num_actors=sum(int(node["CPU"] // num_cpus) for node in hosts), num_cpus=num_cpus, num_gpus=0)


class RayEngine:
    """Encodes shards on a Ray cluster; see `Engine`. All nodes see sources and output by the same paths.

    Args:
        address: of a cluster that this machine belongs to; None starts one on this machine.
    """

    def __init__(self, *, address: str | None = None) -> None:
        self._address = address

    def __call__(self, work: Work, shards: Sequence[int], encoding: Encoding) -> Iterator[Step]:
        """Encode shards, each whole in one actor.

        Args:
            work: what they are made from.
            shards: their numbers.
            encoding: not used: every actor loads its own.

        Returns:
            One step for each shard that is finished.

        Raises:
            ClusterError: Ray is not there, or its nodes do not see the folder.
            EncodeError: a shard cannot be encoded, or its actors die again and again.
        """
        del encoding
        with connected(self._address):
            for start in range(0, len(shards), _SHARDS_TOGETHER):
                yield from _encode_all(work, shards[start : start + _SHARDS_TOGETHER])


def _encode_all(work: Work, shards: Sequence[int]) -> Iterator[Step]:
    """Encode shards; where Ray itself fails, ask it anew for the rest."""
    errors: Any = load_ray().exceptions
    left, num_failed = dict.fromkeys(shards), 0
    while left:
        try:
            for step in encode_on_ray(work, tuple(left)):
                num_failed = 0
                del left[cast(int, step.finished)]
                yield step
        except errors.RayTaskError:  # what an actor computed is wrong, and would be again
            raise
        except errors.RayError as error:
            num_failed += 1
            if num_failed == NUM_TRIES:
                reason = first_line(error).rstrip(".")
                raise ClusterError(
                    f"Ray failed {NUM_TRIES} times, and finished no shard in between: {reason}. Look at the cluster "
                    f"with `ray status`, and give the same command again: finished shards are kept"
                ) from error
            sleep(_PAUSE_SECONDS)


def encode_on_ray(work: Work, shards: Sequence[int]) -> Iterator[Step]:
    """Encode shards on the cluster that this process is connected to.

    Args:
        work: what they are made from.
        shards: their numbers.

    Returns:
        One step for each shard, as they are finished.

    Raises:
        ClusterError: the nodes do not see the folder.
        EncodeError: a shard cannot be encoded, or its actors die again and again.
    """
    ray = load_ray()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    pool = divide(nodes, num_workers=work.num_workers, on_gpus=work.settings.device != "cpu")
    # An actor with a GPU sees that one alone, whatever its number is for others.
    settings = replace(work.settings, device="cuda") if pool.num_gpus else work.settings
    theirs = replace(work, settings=settings, num_workers=min(work.num_workers, pool.num_cpus - 1))
    with _data_without_a_word() as data:
        rows = data.from_items([{"shard": number} for number in shards], override_num_blocks=len(shards)).map_batches(
            _Actor,
            fn_constructor_args=(theirs, str(Path.cwd())),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=min(pool.num_actors, len(shards)), max_tasks_in_flight_per_actor=1),
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus or None,
        )
        for row in rows.iter_rows():
            if row["error"]:
                raise EncodeError(row["error"])
            check_shared(table_path(work.folder, row["shard"]))
            yield Step(**{name: row[name] for name in _COUNTS}, finished=row["shard"])
    for stale in (work.folder / SHARDS).glob(".*.tmp"):  # of actors that died
        stale.unlink(missing_ok=True)


class _Actor:
    """Lives on a node of the cluster, and encodes one shard after another.

    Args:
        work: what they are made from.
        home: the folder that paths are relative to.
    """

    def __init__(self, work: Work, home: str) -> None:
        self._work = work
        self._home = home
        self._loaded: tuple[ShardEncoder, Listing] | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Encode the shard of a batch of one; what is wrong comes back as words, which Ray would bury in a trace."""
        number = int(batch["shard"][0])
        done, error = Step(), ""
        try:
            done = self._encode(number)
        except OpticNerveError as problem:
            error = str(problem)
        counts = {name: [getattr(done, name)] for name in _COUNTS}
        return {"shard": [number], "error": [error], **counts}

    def _encode(self, number: int) -> Step:
        if self._loaded is None:
            enter(self._home)
            self._loaded = self._work.encoder(), read_listing(self._work.folder / SOURCES)
        encoder, listing = self._loaded
        with _counted(self._work.folder, number):
            done = Step()
            for step in encoder.run([listing.shard(number)]):
                done = done.plus(step)
            return done


@contextmanager
def _counted(folder: Path, number: int) -> Generator[None]:
    """Note that a shard was begun, where the next actor finds it if this one dies."""
    note = folder / SHARDS / f".{number:08d}.tries.tmp"
    with note.open("ab") as file:
        if file.tell() >= NUM_TRIES:
            raise EncodeError(
                f"shard {number} was begun {NUM_TRIES} times, and each time its process died: memory may be short. Use"
                " fewer workers, or fewer tiles a call"
            )
        file.write(b".")
    yield
    note.unlink(missing_ok=True)


@contextmanager
def _data_without_a_word() -> Generator[Any]:
    """Import Ray Data, and keep its bars and remarks off the terminal."""
    import ray.data as data

    context = data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with data.DataContext.current(context):
            yield data
    finally:
        logger.setLevel(level)
