"""Devices by name: of the catalogue, or files that `opticnerve calibrate` wrote."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from opticnerve.errors import PlanError
from opticnerve.planner import catalogue
from opticnerve.planner.catalogue import Row
from opticnerve.planner.device import Device
from opticnerve.planner.ranges import Range
from opticnerve.whole_files import write_whole

HERE = "here"
"""Names the device that calibration saved for this user."""
FORMAT = 1
"""Version of the files."""
_SHARES = ("compute", "movement")
_RANGES = (*_SHARES, "layer_us", "decode_ms", "resize_ms")


def find_device(name: str) -> Device:
    """Find a device.

    Args:
        name: of the catalogue, in capitals or not; a file of `opticnerve calibrate`; or "here", the one that it saved
            for this user.

    Raises:
        PlanError: there is no such device, or the file cannot be read.
    """
    rows = catalogue.devices()
    if name.lower() in rows:
        return _from_row(rows[name.lower()])
    if name.lower() == HERE:
        if not home_file().is_file():
            raise PlanError(f"this machine is not calibrated ({home_file()} is not there): run `opticnerve calibrate`")
        return read_device(home_file())
    if Path(name).is_file():
        return read_device(Path(name))
    near = get_close_matches(name.lower(), rows, n=3, cutoff=0.4)
    hint = f"Nearest: {', '.join(near)}. " if near else ""
    raise PlanError(
        f'there is no device "{name}", nor a file of that name. {hint}Known: {", ".join(rows)}, {HERE} (measured by '
        f"`opticnerve calibrate`)"
    )


def home_file() -> Path:
    """Return where calibration is saved unless it is told otherwise: in the user's folder of settings."""
    settings = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(settings) / "opticnerve" / "device.json"


def read_device(path: Path) -> Device:
    """Read a device file.

    Args:
        path: what `write_device` wrote.

    Raises:
        PlanError: it cannot be read, is of another kind or format, or lacks something.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlanError(f"cannot read the device file {path}: {error}") from error
    if not isinstance(document, dict) or not isinstance(cast("Any", document).get("device"), dict):
        raise PlanError(f'{path} is not a device file: it has no "device". `opticnerve calibrate --out FILE` makes one')
    whole = cast("Mapping[str, Any]", document)
    if whole.get("format") != FORMAT:
        raise PlanError(
            f"{path} is of format {whole.get('format')}; this version reads format {FORMAT}: calibrate again"
        )
    return _from_dict(whole["device"], path)


def write_device(path: Path, device: Device, *, measured: Sequence[Mapping[str, Any]]) -> None:
    """Write a device file: under another name first, so that no half of one is ever there.

    Args:
        path: what is there is replaced.
        device: the device.
        measured: what was measured, as a record.

    Raises:
        PlanError: the file cannot be written.
    """
    document = {"format": FORMAT, "device": asdict(device), "measured": list(measured)}
    text = json.dumps(document, indent=2) + "\n"
    write_whole(path, text.encode(), what="device file", error=PlanError, remedy="Name another with --out")


def _from_row(row: Row) -> Device:
    reach: Mapping[str, Sequence[float]] = row.facts["reach"]
    ranges: dict[str, Any] = {name: Range(low=low, high=high) for name, (low, high) in reach.items()}
    facts: dict[str, Any] = {name: value for name, value in row.facts.items() if name != "reach"}
    return Device(name=row.name, source=row.source, date=row.date, **facts, **ranges)


def _from_dict(values: Mapping[str, Any], path: Path) -> Device:
    known = [field.name for field in fields(Device)]
    missing = [name for name in known if name not in values]
    unknown = sorted(set(values) - set(known))
    if missing or unknown:
        wrong = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(unknown)}"] * bool(unknown)
        raise PlanError(f"the device in {path} {' and '.join(wrong)}: its keys are {', '.join(known)}")
    facts: dict[str, Any] = {name: str(values[name]) for name in ("name", "title", "source", "date")}
    try:
        facts |= {name: Range(low=float(values[name]["low"]), high=float(values[name]["high"])) for name in _RANGES}
        facts["flops"] = {str(dtype): float(rate) for dtype, rate in values["flops"].items()}
        facts |= {"bandwidth": float(values["bandwidth"]), "memory_bytes": int(values["memory_bytes"])}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise PlanError(f"the device in {path} has a value of the wrong kind ({error}): calibrate again") from error
    device = Device(**facts)
    _check(device, path)
    return device


def _check(device: Device, path: Path) -> None:
    """Refuse numbers that no time can be reckoned with."""
    costs = {name: getattr(device, name) for name in _RANGES}
    for name, cost in costs.items():
        if not 0 <= cost.low <= cost.high < math.inf or (name in _SHARES and not cost.low):
            raise PlanError(
                f"the device in {path} has {name} from {cost.low:g} to {cost.high:g}, which is no range of "
                f"{'shares' if name in _SHARES else 'times'}: calibrate again"
            )
    rates = {f"flops.{dtype}": rate for dtype, rate in device.flops.items()}
    for name, number in {**rates, "bandwidth": device.bandwidth, "memory_bytes": device.memory_bytes}.items():
        if not 0 < number < math.inf:
            raise PlanError(f"the device in {path} has {name}={number:g}, which must be above 0: calibrate again")
    if not device.flops:
        raise PlanError(f"the device in {path} computes in no number format: calibrate again")
