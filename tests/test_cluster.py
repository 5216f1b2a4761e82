import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest

from opticnerve import cluster
from opticnerve.cluster import check_shared, connected, enter, num_slots
from opticnerve.errors import ClusterError

JOIN = """
import sys
from opticnerve.cluster import connected, num_slots

with connected(sys.argv[1]):
    print(num_slots())
"""


@pytest.fixture
def listening() -> Generator[str]:
    """The address of a port where something listens that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def join(address: str | None) -> None:
    with connected(address):
        pass


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r'^Ray is not installed: pip install "opticnerve\[ray\]"$'):
        join(None)


@pytest.mark.parametrize("address", ["10.0.0.1", "ray://10.0.0.1:10001", "10.0.0.1:", ""])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(ClusterError, match=f'by HOST:PORT, such as 10.0.0.1:6379, or by "auto", got "{address}"'):
        join(address)


def test_an_address_where_nothing_listens_is_refused_at_once(listening: str) -> None:
    begin = monotonic()
    host, port = listening.split(":")
    with pytest.raises(ClusterError, match=f"no Ray cluster answers at {host}:1 .*refused.*ray start --head"):
        join(f"{host}:1")
    with pytest.raises(ClusterError, match="no Ray cluster answers at no.such.host.invalid"):
        join(f"no.such.host.invalid:{port}")
    assert monotonic() - begin < 10


def test_what_listens_but_is_no_cluster_is_given_up_after_a_while(
    listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 3.0)
    with pytest.raises(ClusterError, match=f"{listening} does not answer as a Ray cluster within 3 s"):
        join(listening)


def test_a_cluster_is_started_joined_left_and_ended_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    import ray

    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    with connected(None, num_cpus=2):
        assert num_slots() == ("CPU", 2)
        assert signal.getsignal(signal.SIGTERM) is handler
        address = ray.get_runtime_context().gcs_address
        with connected(None), connected(address):  # the one that is there
            assert num_slots() == ("CPU", 2)
        with pytest.raises(ClusterError, match=f"is connected to the Ray cluster at {address}, not to 10.0.0.1:6379"):
            join("10.0.0.1:6379")
        assert capfd.readouterr() == ("", "")
        joined = subprocess.run(
            [sys.executable, "-c", JOIN, address], capture_output=True, text=True, check=True, timeout=120
        )
        assert (joined.stdout, joined.stderr) == ("('CPU', 2)\n", "")
        assert ray.is_initialized()
    assert not ray.is_initialized()
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")


def test_work_takes_gpus_where_there_are_any_and_cpus_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for resources, wanted in (({"CPU": 8.0, "GPU": 2.0}, ("GPU", 2)), ({"CPU": 8.0}, ("CPU", 8))):
        monkeypatch.setattr(cluster, "load_ray", lambda given=resources: SimpleNamespace(cluster_resources=given.copy))
        assert num_slots() == wanted
    monkeypatch.setattr(cluster, "load_ray", lambda: SimpleNamespace(cluster_resources=dict))
    with pytest.raises(ClusterError, match="the Ray cluster has no CPUs: start a node"):
        num_slots()


def test_a_file_that_no_node_shares_is_missed_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "file"
    late = threading.Timer(0.3, lambda: (path.parent.mkdir(), path.touch()))
    late.start()
    check_shared(path)
    late.join()
    monkeypatch.setattr(cluster, "SHARED_SECONDS", 0.1)
    said = f"{tmp_path}/other was written by a worker, but is not there on this machine: --out has to be a folder that"
    with pytest.raises(ClusterError, match=re.escape(said)):
        check_shared(tmp_path / "other")


def test_a_node_without_the_folder_of_the_command_is_named(tmp_path: Path) -> None:
    home, said = Path.cwd(), "nowhere, where the command was given, is not there on node .*: give it in a folder that"
    with pytest.raises(ClusterError, match=said):
        enter(str(tmp_path / "nowhere"))
    assert Path.cwd() == home
