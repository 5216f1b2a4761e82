"""`opticnerve calibrate`: what this machine computes and moves, for plans with `--device here`."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from opticnerve.cli.exit_codes import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opticnerve.planner.calibrate import Measurement, Trial
    from opticnerve.planner.device import Device

_UNITS = {"FLOP/s": (1e9, "GFLOP/s"), "B/s": (1e9, "GB/s"), "ms": (1, "ms"), "ms/Mpx": (1, "ms a megapixel")}


def calibrate(
    *,
    out: str = "",
    seconds: float = 60,
    threads: int = 0,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Measure this machine, and save it as a device for `opticnerve plan --device here`.

    Measures matrix products, memory, whole layers of encoders and LLMs, starting a layer, and making tiles of a JPEG:
    on the first GPU, or else on the CPU. Then predicts how long the bundled models take, and runs them. Leave the
    machine alone meanwhile: what else runs is measured with it.

    Args:
        out: File to save; without it, device.json in the user's folder of settings, which `--device here` reads.
        seconds: To measure for, about; a slow machine takes longer, since everything is done four times at least.
        threads: Of the CPU that torch may use; 0 takes what it uses anyway.
        json: Print JSON instead of tables.
    """
    from pathlib import Path

    from opticnerve.cli.terminal import complain
    from opticnerve.errors import PlanError
    from opticnerve.planner.device_files import home_file

    if threads < 0:
        raise PlanError(f"--threads is a number of threads, or 0 for torch's own choice; got {threads}")
    path = Path(out) if out else home_file()
    try:
        return _calibrate(path, seconds=seconds, num_threads=threads, json=json)
    except KeyboardInterrupt:
        complain(f"interrupted: {path} is as it was")
        return INTERRUPTED


def _calibrate(path: "Path", *, seconds: float, num_threads: int, json: bool) -> int:
    from dataclasses import asdict

    from opticnerve.cli.progress import with_progress
    from opticnerve.cli.quiet import quietly
    from opticnerve.cli.terminal import print_json
    from opticnerve.planner.calibrate import (
        Calibration,
        family_trials,
        make_device,
        median_error,
        num_trials,
        this_machine,
        threads,
    )
    from opticnerve.planner.device_files import write_device

    with quietly(), threads(num_threads):
        machine = this_machine()
        # a third of the time is for the bundled models
        calibration = Calibration(machine=machine, seconds=2 * seconds / 3)
        total = calibration.num_measurements
        measured = list(with_progress(calibration.measure(), total=total, what="measurements"))
        device = make_device(machine, measured)
        trials = family_trials(device, machine, seconds=seconds / 3 / num_trials())
        tried = list(with_progress(trials, total=num_trials(), what="bundled models"))
    write_device(path, device, measured=[asdict(one) for one in measured])
    if json:
        results = [{**asdict(one), "error": one.error} for one in tried]
        print_json({"file": str(path), "device": asdict(device), "measured": [asdict(one) for one in measured],
                    "bundled_models": results, "median_error": median_error(tried)})  # fmt: skip
    else:
        _print(device, measured, tried, path)
    return 0


def _print(device: "Device", measured: "Sequence[Measurement]", tried: "Sequence[Trial]", path: "Path") -> None:
    from opticnerve.cli.terminal import print_table, say
    from opticnerve.planner.calibrate import median_error
    from opticnerve.planner.device_files import home_file

    title = f"{device.title}; {device.source}"
    print_table(
        title, ("measured", "on", "median", "middle half", "unit"), [_row(one) for one in measured], num_words=2
    )
    say(f"Whole layers reach {device.compute.low:.0%} to {device.compute.high:.0%} of the best matrix product.")
    say(f"A layer takes {device.layer_us.low:.0f} to {device.layer_us.high:.0f} us to start.\n")
    rows = [
        [
            trial.model,
            trial.stage,
            f"{trial.predicted.low:.3g} to {trial.predicted.high:.3g}",
            f"{trial.measured.median:.3g}",
            f"{trial.error:+.0%}",
        ]
        for trial in tried
    ]
    heading = ("bundled model", "stage", "predicted ms", "measured ms", "error")
    print_table("Predictions against measurements", heading, rows, num_words=2)
    say(f"Half of the errors are below {median_error(tried):.0%}.")
    name = "here" if path == home_file() else path
    say(f"Saved as {path}: plan for this machine with --device {name}.")


def _row(one: "Measurement") -> list[str]:
    factor, unit = _UNITS[one.unit]
    median, low, high = (value / factor for value in (one.spread.median, one.spread.low, one.spread.high))
    what = f"{one.probe} {one.dtype}".strip()
    return [what, one.what, f"{median:,.4g}", f"{low:,.4g} to {high:,.4g}", unit]
