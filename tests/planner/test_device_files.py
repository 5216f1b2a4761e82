"""Devices of the catalogue, and files of devices."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from opticnerve.errors import PlanError
from opticnerve.planner import catalogue
from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand
from opticnerve.planner.device import VALUE_BYTES
from opticnerve.planner.device_files import find_device, home_file, read_device, write_device
from planner.parts import device, model

NAMES = list(catalogue.devices())


@pytest.fixture(autouse=True)
def settings_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return tmp_path / "settings"


@pytest.mark.parametrize("name", NAMES)
def test_every_device_of_the_catalogue_is_complete(name: str) -> None:
    found = find_device(name)
    assert name == name.lower()
    assert set(found.flops) <= set(VALUE_BYTES)
    assert next(iter(found.flops)) == "fp32"
    rates = list(found.flops.values())
    assert rates == sorted(rates), "fewer bits are never slower"
    assert 1e10 < found.bandwidth < 1e13
    assert 1e9 < found.memory_bytes < 1e12
    for share in (found.compute, found.movement):
        assert 0 < share.low < share.high <= 1
    for cost in (found.layer_us, found.decode_ms, found.resize_ms):
        assert 0 < cost.low < cost.high
    assert len(found.source) > 20
    assert found.date >= "2026-11-22"


@pytest.mark.parametrize("name", NAMES)
def test_every_device_of_the_catalogue_can_be_planned_for(name: str) -> None:
    found = find_device(name)
    dtype = "bf16" if {"bf16", "fp16"} & set(found.flops) else "fp32"
    plan = make_plan(model(), found, Demand(dtype=dtype), size=(600, 800))
    assert 0 < plan.timing.first_token_ms.low < plan.timing.first_token_ms.high
    assert plan.max_batch > 0


def test_rates_are_those_without_sparsity() -> None:
    assert find_device("h100").flops["bf16"] == pytest.approx(1979e12 / 2, rel=1e-3)
    assert find_device("a100").flops["bf16"] == 312e12
    assert find_device("l4").flops["int8"] == pytest.approx(485e12 / 2, rel=1e-3)


def test_h200_is_h100_with_more_and_faster_memory() -> None:
    h100, h200 = find_device("h100"), find_device("h200")
    assert h100.flops == h200.flops
    assert h100.bandwidth < h200.bandwidth
    assert h100.memory_bytes < h200.memory_bytes


def test_names_may_be_in_capitals() -> None:
    assert find_device("RTX4090") == find_device("rtx4090")


def test_an_unknown_device_lists_the_nearest_and_all() -> None:
    with pytest.raises(PlanError, match=r'there is no device "h110", nor a file of that name\. Nearest: h100') as error:
        find_device("h110")
    assert all(name in str(error.value) for name in [*NAMES, "here (measured by `opticnerve calibrate`)"])


def test_here_before_calibration_says_what_to_do(settings_folder: Path) -> None:
    with pytest.raises(PlanError, match=r"this machine is not calibrated \(.*device\.json is not there\): run `optic"):
        find_device("here")
    assert home_file() == settings_folder / "opticnerve" / "device.json"


def test_without_a_variable_settings_are_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert home_file() == Path.home() / ".config" / "opticnerve" / "device.json"


def test_a_device_comes_back_from_its_file_and_is_here(tmp_path: Path) -> None:
    write_device(home_file(), device(), measured=[{"probe": "copy"}])
    assert find_device("here") == find_device("HERE") == device()
    file = tmp_path / "mine.json"
    write_device(file, device(bandwidth=2e11), measured=[])
    assert find_device(str(file)) == device(bandwidth=2e11)
    assert json.loads(home_file().read_text())["measured"] == [{"probe": "copy"}]


def test_writing_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    write_device(file, device(), measured=[])
    with pytest.raises(TypeError):
        write_device(file, device(bandwidth=1.0), measured=[{"not": object()}])
    assert read_device(file) == device()
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlanError, match=r"cannot write the device file .*d\.json: .* Name another with --out"):
        write_device(tmp_path / "file" / "d.json", device(), measured=[])


def document(**changes: object) -> dict[str, Any]:
    return {"format": 1, "device": {**asdict(device()), **changes}, "measured": []}


def without(name: str) -> dict[str, Any]:
    whole = document()
    del whole["device"][name]
    return whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read the device file .*: Expecting property name"),
        ("[1]", r'is not a device file: it has no "device"\. `opticnerve calibrate --out FILE` makes one'),
        ('{"device": 3}', 'is not a device file: it has no "device"'),
        (json.dumps({**document(), "format": 7}), "is of format 7; this version reads format 1: calibrate again"),
        (json.dumps(without("bandwidth")), "lacks bandwidth: its keys are name, title, flops"),
        (json.dumps(document(speed=1)), "the device in .* has speed: its keys are name, title, flops"),
        (json.dumps(document(compute=[1, 2])), r"has a value of the wrong kind \(.*\): calibrate again"),
        (json.dumps(document(bandwidth="fast")), r"has a value of the wrong kind \(.*'fast'\): calibrate again"),
        (json.dumps(document(flops={"fp32": 0})), r"has flops\.fp32=0, which must be above 0: calibrate again"),
        (
            json.dumps(document(layer_us={"low": 1, "high": -2})),
            "has layer_us from 1 to -2, which is no range of times",
        ),
        (json.dumps(document(compute={"low": 0, "high": 1})), "has compute from 0 to 1, which is no range of shares"),
        (json.dumps(document(bandwidth=float("nan"))), "has bandwidth=nan, which must be above 0"),
        (json.dumps(document(flops={})), "computes in no number format: calibrate again"),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(content)
    with pytest.raises(PlanError, match=message):
        find_device(str(file))
