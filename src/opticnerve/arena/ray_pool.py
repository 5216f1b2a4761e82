"""Cells on a Ray cluster, each a task of its own."""

from pathlib import Path
from typing import Any

from opticnerve.arena.cells import RESULT
from opticnerve.arena.pool import GO_ON, Said, Work
from opticnerve.cluster import check_shared, enter, load_ray, num_slots
from opticnerve.errors import ClusterError, first_line
from opticnerve.train.errors import TrainingError

NUM_TRIES = 3
"""Times that a cell is begun before its dying workers end the arena."""
_STOP_SECONDS = 10.0
"""That cells are given to end."""


class RayPool:
    """Runs each cell as a task with a GPU, or a CPU where the cluster has no GPUs; see `Pool`.

    Used inside `opticnerve.cluster.connected`. The arena's folder has to be one that every node sees by the same path.

    Args:
        jobs: cells at once; 0 is as many as there are GPUs, or else CPUs.
    """

    def __init__(self, *, jobs: int = 0) -> None:
        self._jobs = jobs
        self._ray = load_ray()
        self._running: dict[Any, tuple[Work, int]] = {}

    @property
    def num_slots(self) -> int:
        """Cells that can run at once: the cluster may grow."""
        _, count = num_slots()
        return min(count, self._jobs or count)

    def start(self, work: Work) -> None:
        """Hand a cell to the cluster."""
        self._begin(work, 1)

    def wait(self) -> list[tuple[Work, dict[str, Any]]]:
        """Wait until at least one of them has ended; one whose worker died is begun again, `NUM_TRIES` times in all."""
        ended: list[tuple[Work, dict[str, Any]]] = []
        while not ended:
            ready, _ = self._ray.wait(list(self._running))
            for task in ready:
                work, number = self._running.pop(task)
                said, reason = self._said(task, work)
                if said is not None and said.kind != "stopped":
                    ended.append((work, work.result(said)))
                    check_shared(work.cell.folder(work.config, work.out) / RESULT)
                elif number < NUM_TRIES:
                    self._begin(work, number + 1)
                else:
                    raise TrainingError(
                        f"cell {work.name}: its worker died {NUM_TRIES} times ({reason}); if memory ran out, run fewer"
                        f" cells at once with --jobs. {GO_ON}"
                    )
        return ended

    def stop(self) -> None:
        """End the tasks."""
        tasks, self._running = list(self._running), {}
        for task in tasks:
            self._ray.cancel(task, force=True)
        if tasks:
            self._ray.wait(tasks, num_returns=len(tasks), timeout=_STOP_SECONDS)

    def _begin(self, work: Work, number: int) -> None:
        kind, _ = num_slots()
        needs = {"num_cpus": 1, "num_gpus": int(kind == "GPU"), "max_retries": 0}
        self._running[self._ray.remote(**needs)(_run).remote(work, str(Path.cwd()))] = work, number

    def _said(self, task: Any, work: Work) -> tuple[Said | None, str]:  # noqa: ANN401
        """Return what a worker said, or why it died."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(task), "asked to stop"
        except errors.RayTaskError as error:  # the task itself raises nothing: it could not be read, or written
            reason = first_line(error.cause)
            raise ClusterError(
                f"cell {work.name}: a worker of the Ray cluster cannot run it ({reason}): install the same versions of"
                " opticnerve and of what it needs on every node"
            ) from error
        except errors.RayError as error:
            return None, first_line(error)


def _run(work: Work, home: str) -> Said:
    try:
        enter(home)
    except ClusterError as error:
        return Said(kind="wrong", result={}, words=str(error))
    return work.run_apart()
