"""A Ray cluster: one that is started inside this process's machine, or one that is there already."""

import importlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from opticnerve.errors import ClusterError, first_line

ANSWER_SECONDS = 30.0
"""That a cluster is waited for."""
SHARED_SECONDS = 90.0
"""That a shared folder is given to show what another node has written."""
_REACH_SECONDS = 5.0
"""That its machine is waited for."""
_STORE_BYTES = 256 * 2**20
"""Shared memory of a cluster that is started here: what goes through it are names of files and counts."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # tells nobody that it runs
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # otherwise a warning about what this will become
}
_TRY_TO_JOIN = """
import logging, sys
import ray

logging.getLogger("ray").setLevel(logging.ERROR)
try:
    ray.init(address=sys.argv[1], configure_logging=False, log_to_driver=False)
except Exception as error:
    sys.exit("REASON: " + " ".join(str(error).split()))
"""
_START = "start one with `ray start --head`, and join this machine to it with `ray start --address HOST:PORT`"


def load_ray() -> Any:  # noqa: ANN401 - a module that is not there for everybody
    """Import Ray.

    Raises:
        ClusterError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ClusterError('Ray is not installed: pip install "opticnerve[ray]"') from error


@contextmanager
def connected(address: str | None, *, num_cpus: int | None = None) -> Generator[None]:
    """Start a cluster on this machine, or join the one at an address; leave or end it afterwards.

    Where this process is connected already, that cluster is used, and stays.

    Args:
        address: HOST:PORT of a cluster that this machine belongs to, or "auto" for the one that runs here; None starts
            one, for this process alone.
        num_cpus: of a cluster that is started; None is one for each core.

    Raises:
        ClusterError: Ray is not installed, nothing answers at the address, or a cluster cannot be started.
    """
    ray = load_ray()
    if ray.is_initialized():
        _check_same(ray, address)
        yield
        return
    with _quietly():
        if address is not None:
            _check_answer(address)
        try:
            with _own_signals():
                ray.init(
                    address=address or "local",
                    configure_logging=False,
                    log_to_driver=False,
                    **({} if address else {"include_dashboard": False, "object_store_memory": _STORE_BYTES}),
                    **({} if address else {"num_cpus": num_cpus}),
                )
        except Exception as error:  # Ray raises of every kind, from its own errors to OSError
            doing = f"the Ray cluster at {address} cannot be joined" if address else "Ray cannot be started here"
            raise ClusterError(f"{doing}: {first_line(error)}") from error
        try:
            yield
        finally:
            with _own_signals():
                ray.shutdown()


def num_slots() -> tuple[str, int]:
    """Say what one piece of work takes for itself, and how many the cluster has of it now.

    Returns:
        "GPU" where the cluster has any, otherwise "CPU"; how many.

    Raises:
        ClusterError: it has neither.
    """
    resources = load_ray().cluster_resources()
    for kind in ("GPU", "CPU"):
        if count := int(resources.get(kind, 0)):
            return kind, count
    raise ClusterError("the Ray cluster has no CPUs: start a node with `ray start --address HOST:PORT --num-cpus N`")


def enter(folder: str) -> None:
    """Make a folder the one that paths are relative to, in a worker on any node.

    Args:
        folder: where the command was given.

    Raises:
        ClusterError: this node has no such folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise ClusterError(
            f"{folder}, where the command was given, is not there on node {socket.gethostname()}: give it in a folder"
            " that all nodes of the cluster share, by the same path"
        ) from error


def check_shared(path: Path) -> None:
    """Wait until a file is seen here that a worker has written, perhaps on another node.

    Args:
        path: of the file.

    Raises:
        ClusterError: it does not appear.
    """
    until = monotonic() + SHARED_SECONDS
    while not path.is_file():
        if monotonic() > until:
            raise ClusterError(
                f"{path} was written by a worker, but is not there on this machine: --out has to be a folder that all"
                " nodes of the cluster share, by the same path"
            )
        for folder in (path.parent.parent, path.parent):
            with suppress(OSError, StopIteration):  # a network file system looks again when a folder is listed
                next(folder.iterdir())
        sleep(0.2)


def _check_same(ray: Any, address: str | None) -> None:  # noqa: ANN401
    joined = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", joined):
        raise ClusterError(
            f"this process is connected to the Ray cluster at {joined}, not to {address}: call ray.shutdown() first"
        )


def _check_answer(address: str) -> None:
    """Try the address in a process that can be ended: Ray itself would wait for minutes, and end this one."""
    if address != "auto":
        _check_reachable(address)
    try:
        found = subprocess.run(
            [sys.executable, "-c", _TRY_TO_JOIN, address],
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(
            f"what listens at {address} does not answer as a Ray cluster within {ANSWER_SECONDS:g} s: {_START}"
        ) from error
    if found.returncode:
        reason = found.stderr.rpartition("REASON: ")[2].strip() or f"exit code {found.returncode}"
        raise ClusterError(f"the Ray cluster at {address} cannot be joined: {reason}")


def _check_reachable(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise ClusterError(f'a Ray cluster is named by HOST:PORT, such as 10.0.0.1:6379, or by "auto", got "{address}"')
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray cluster answers at {address} ({first_line(error)}): {_START}") from error


@contextmanager
def _quietly() -> Generator[None]:
    """Keep Ray's remarks off the terminal, and put back what it writes into the environment."""
    logger, before = logging.getLogger("ray"), dict(os.environ)
    level = logger.level
    logger.setLevel(logging.ERROR)
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    try:
        yield
    finally:
        logger.setLevel(level)
        for name in os.environ.keys() - before.keys():
            if name.startswith(("RAY_", "PYTHONBREAKPOINT")):
                del os.environ[name]


@contextmanager
def _own_signals() -> Generator[None]:
    """Keep the handler of SIGTERM, which Ray sets without asking."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
