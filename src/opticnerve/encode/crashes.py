"""Which pictures kill the process that decodes them: a decoder written in C may fail in ways that no one can catch."""

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from opticnerve.encode.decode import Decoding, Task, tasks
from opticnerve.encode.listing import Shard

CRASHED = "the decoder crashed on it, or was killed for want of memory"
"""Why such a picture is skipped."""


def find_crashers(decoding: Decoding, shard: Shard) -> dict[int, str]:
    """Decode each picture of a shard in a process that may die.

    Args:
        decoding: what is done to a picture.
        shard: its pictures.

    Returns:
        For the place of each picture whose process died, the reason for which it is skipped.
    """
    found: dict[int, str] = {}
    pool = ProcessPoolExecutor(1)
    try:
        for task in tasks(shard):
            try:
                pool.submit(_decode, decoding, task).result()
            except BrokenProcessPool:
                found[task.position] = CRASHED
                pool.shutdown()
                pool = ProcessPoolExecutor(1)
    finally:
        pool.shutdown()
    return found


def _decode(decoding: Decoding, task: Task) -> None:
    _ = decoding[task]
