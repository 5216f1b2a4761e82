"""Calibration: its arithmetic on made-up measurements, and one very short run that is only checked for sense."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from opticnerve.cli.calibrate import calibrate
from opticnerve.errors import PlanError
from opticnerve.family import members
from opticnerve.planner.calibrate import (
    Calibration,
    Clock,
    Machine,
    Measurement,
    Spread,
    Trial,
    family_trials,
    make_device,
    median_error,
    num_trials,
    predict,
    this_machine,
    threads,
)
from opticnerve.planner.calibrate.clock import spread_of
from opticnerve.planner.calibrate.networks import llm, llm_settings, vit, vit_settings
from opticnerve.planner.calibrate.probes import Prober
from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand
from opticnerve.planner.device import DType
from opticnerve.planner.device_files import find_device, home_file, read_device, write_device
from opticnerve.planner.outcome import STAGES
from opticnerve.planner.ranges import Range
from planner.parts import device, model

MACHINE = Machine(kind="cpu", title="made up", memory_bytes=10**9, dtypes=("fp32", "bf16"))


@pytest.fixture(autouse=True)
def settings_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))


def exactly(value: float) -> Spread:
    return Spread(median=value, low=value, high=value, repeats=3)


def made_up() -> list[Measurement]:
    """A machine of 1 TFLOP/s, of which layers reach 0.5 and 0.8 in fp32; in bf16, layers are twice as fast."""

    def one(probe: str, value: float, unit: str, **facts: object) -> Measurement:
        return Measurement(probe=probe, what="", unit=unit, spread=exactly(value), **facts)  # type: ignore[arg-type]

    return [
        one("matrices", 0.7e12, "FLOP/s", dtype="fp32"),
        one("matrices", 1e12, "FLOP/s", dtype="fp32"),
        one("matrices", 9e12, "FLOP/s", dtype="bf16"),
        one("copy", 20e9, "B/s", dtype="fp32"),
        one("read", 16e9, "B/s", dtype="fp32"),
        # ten layers of 0.2 ms to start, and 10 GFLOP
        one("layers", 2 + 20, "ms", dtype="fp32", num_layers=10, flops=10**10),
        one("layers", 2 + 12.5, "ms", dtype="fp32", num_layers=10, flops=10**10),
        one("layers", 2 + 10, "ms", dtype="bf16", num_layers=10, flops=10**10),
        one("layers", 2 + 6.25, "ms", dtype="bf16", num_layers=10, flops=10**10),
        one("start", 0.8, "ms", dtype="fp32", num_layers=8),
        one("start", 3.2, "ms", dtype="fp32", num_layers=8),
        one("decode", 4, "ms/Mpx"),
        one("decode", 9, "ms/Mpx"),
        one("tiles", 10, "ms/Mpx"),
        one("tiles", 5, "ms/Mpx"),
    ]


def test_a_device_is_made_of_the_best_and_what_layers_reach_of_it() -> None:
    made = make_device(MACHINE, made_up())
    assert made.flops["fp32"] == 1e12
    assert (made.compute.low, made.compute.high) == pytest.approx((0.5, 0.8))
    assert made.bandwidth == 20e9
    assert made.movement == Range(low=0.8, high=1)
    assert (made.layer_us.low, made.layer_us.high) == pytest.approx((100, 400))
    assert made.decode_ms == Range(low=4, high=9)
    assert made.resize_ms == Range(low=5, high=10)
    assert made.memory_bytes == 10**9
    assert (made.name, made.title) == ("here", "made up")
    assert "torch" in made.source


def test_other_formats_are_rated_by_what_whole_layers_gain() -> None:
    made = make_device(MACHINE, made_up())
    assert made.flops["bf16"] == pytest.approx(2e12), "and not the 9 TFLOP/s of bare products"
    for dtype, ms in (("fp32", (20 * 12.5) ** 0.5), ("bf16", (10 * 6.25) ** 0.5)):
        time = made.time(flops=1e10, moved_bytes=0, layers=0, dtype=dtype)  # type: ignore[arg-type]
        assert time.middle == pytest.approx(ms)


def test_starting_layers_never_takes_all_of_the_time() -> None:
    slow_start = [replace(one, spread=exactly(1e4)) if one.probe == "start" else one for one in made_up()]
    assert all(rate > 0 for rate in make_device(MACHINE, slow_start).flops.values())


def test_a_clock_leaves_out_the_first_time_and_takes_the_median() -> None:
    # seconds at which things begin and end: the first takes 5 s, the others 1, 3 and 2
    ticks = iter([0, 5, 5, 6, 6, 9, 9, 11])
    calls: list[str] = []
    clock = Clock(finish=lambda: calls.append("wait"), now=lambda: next(ticks))
    spread = clock.ms(lambda: calls.append("work"), seconds=0.5)
    assert spread == Spread(median=2000, low=1500, high=2500, repeats=3)
    assert calls == ["work", "wait"] * 4


def test_a_clock_goes_on_until_its_time_is_over() -> None:
    now: Iterator[float] = (0.1 * tick for tick in range(10_000))
    assert Clock(finish=lambda: None, now=lambda: next(now)).ms(lambda: None, seconds=1.05).repeats == 11
    fast: Iterator[float] = (1e-6 * tick for tick in range(10_000))
    assert Clock(finish=lambda: None, now=lambda: next(fast)).ms(lambda: None, seconds=1).repeats == 200


def test_spreads_turn_from_times_to_rates() -> None:
    spread = spread_of([1, 2, 3, 4, 5])
    assert spread == Spread(median=3, low=2, high=4, repeats=5)
    assert spread.inverse(12) == Spread(median=4, low=3, high=6, repeats=5)
    assert spread.times(2) == Spread(median=6, low=4, high=8, repeats=5)


def test_errors_are_of_the_middle_of_the_range() -> None:
    trial = Trial(model="a", stage="encode", predicted=Range(low=5, high=20), measured=exactly(8))
    assert trial.error == pytest.approx(0.25)
    assert trial.is_within
    others = [replace(trial, measured=exactly(ms)) for ms in (20, 40, 10)]
    assert [one.is_within for one in others] == [True, False, True]
    assert median_error(others) == pytest.approx(0.5)


def test_predictions_are_those_of_a_plan() -> None:
    expected = predict(model(), device(), size=(600, 800), text_tokens=32, dtype="fp32")
    plan = make_plan(model(), device(), Demand(text_tokens=32, dtype="fp32"), size=(600, 800))
    assert dict(expected) == dict(plan.timing.stages)
    assert tuple(expected) == STAGES


def test_networks_cost_what_torch_counts() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    small = vit(vit_settings(dim=64, depth=2, image_px=64), MACHINE, images=2)
    read = llm(llm_settings(dim=64, depth=2, mlp_dim=128, kv_heads=1), MACHINE, tokens=7)
    for network in (small, read):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            network.run()
        assert network.flops == pytest.approx(counter.get_total_flops(), rel=0.01)
        assert network.num_layers == 2


def test_building_networks_leaves_the_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    vit(vit_settings(dim=64, depth=1, image_px=32), replace(MACHINE, dtypes=("fp32",)))
    settings = llm_settings(dim=64, depth=1, mlp_dim=64, kv_heads=1)
    llm(settings, MACHINE, tokens=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with threads(0):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_this_machine_computes_in_single_precision_and_has_memory() -> None:
    machine = this_machine()
    assert "fp32" in machine.dtypes
    assert machine.memory_bytes > 2**28
    assert machine.title


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_time_that_cannot_be_is_refused(seconds: float) -> None:
    with pytest.raises(PlanError, match=f"calibration needs a time above 0 seconds, got {seconds:g}"):
        Calibration(machine=MACHINE, seconds=seconds)
    with pytest.raises(PlanError, match="calibration needs a time above 0 seconds"):
        calibrate(seconds=seconds)


def test_a_number_of_threads_that_cannot_be_is_refused() -> None:
    with pytest.raises(PlanError, match="--threads is a number of threads, or 0 for torch's own choice; got -2"):
        calibrate(threads=-2)


@pytest.fixture
def only_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opticnerve.planner.calibrate.run.sizes", lambda machine: [(64, 64, 64)])
    monkeypatch.setattr("opticnerve.planner.calibrate.probes._COPY_BYTES", 2**20)
    settings = vit_settings(dim=64, depth=2, image_px=64)
    two = dict(list(members().items())[-2:])
    monkeypatch.setattr("opticnerve.planner.calibrate.family.members", lambda: two)
    monkeypatch.setattr(
        "opticnerve.planner.calibrate.probes._layers",
        lambda machine, dtype, index: ("small", vit(settings, machine, dtype)),
    )


@pytest.mark.usefixtures("only_little")
def test_a_short_run_saves_a_device_that_plans_and_prints_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(seconds=0.2) == 0
    out = capsys.readouterr().out
    assert "matrices fp32" in out
    assert "resampler" in out
    assert "Half of the errors are below" in out
    assert f"Saved as {home_file()}: plan for this machine with --device here." in out
    found = find_device("here")
    plan = make_plan(model(), found, Demand(dtype="fp32"), size=(600, 800))
    assert 0 < plan.timing.first_token_ms.low <= plan.timing.first_token_ms.high < float("inf")
    assert all(0 < low <= high for low, high in pairwise([found.compute.low, found.compute.high]))
    assert (
        len(json.loads(home_file().read_text())["measured"])
        == Calibration(machine=this_machine(), seconds=1).num_measurements
    )


@pytest.mark.usefixtures("only_little")
def test_json_has_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deep" / "mine.json"
    assert calibrate(out=str(file), seconds=0.1, threads=1, json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == str(file)
    assert document["device"] == json.loads(json.dumps(asdict(read_device(file))))
    assert len(document["bundled_models"]) == num_trials()
    assert {one["stage"] for one in document["bundled_models"]} == {"encode", "connect", "prefill"}
    assert all(one["measured"]["median"] > 0 for one in document["bundled_models"])
    assert not home_file().exists()


def test_an_interruption_leaves_the_file_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(prober: Prober) -> Measurement:
        raise KeyboardInterrupt

    write_device(home_file(), device(), measured=[])
    monkeypatch.setattr("opticnerve.planner.calibrate.run.sizes", lambda machine: [(8, 8, 8)])
    monkeypatch.setattr(Prober, "copy", stop)
    assert calibrate(seconds=0.1) == 130
    assert capsys.readouterr().err == f"opticnerve: interrupted: {home_file()} is as it was\n"
    assert find_device("here") == device()
    assert list(home_file().parent.iterdir()) == [home_file()]


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_bundled_models_are_tried_at_every_stage(dtype: DType) -> None:
    machine = replace(this_machine(), dtypes=(dtype,))
    trials = family_trials(device(), machine, seconds=0.01)
    first = [next(trials) for _ in range(3)]
    assert [one.stage for one in first] == ["encode", "connect", "prefill"]
    assert len({one.model for one in first}) == 1
    assert all(one.predicted.low > 0 and one.measured.median > 0 for one in first)
