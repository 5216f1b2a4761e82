"""Measure this machine, and make a device of what was measured."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import torch

from opticnerve.errors import PlanError
from opticnerve.planner.calibrate.machine import Machine
from opticnerve.planner.calibrate.probes import NUM_LAYERS, Measurement, Probe, Prober, sizes
from opticnerve.planner.device import Device, DType
from opticnerve.planner.device_files import HERE
from opticnerve.planner.ranges import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Everything that is measured on a machine, one after another."""

    machine: Machine
    seconds: float
    """For all measurements together, about."""

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise PlanError(f"calibration needs a time above 0 seconds, got {self.seconds:g}")

    @property
    def num_measurements(self) -> int:
        """How many there are."""
        return len(self._work(0))

    def measure(self) -> Iterator[Measurement]:
        """Measure one thing after another."""
        each = self.seconds / self.num_measurements
        return (work() for work in self._work(each))

    def _work(self, seconds: float) -> Sequence[Callable[[], Measurement]]:
        prober = Prober(machine=self.machine, seconds=seconds)
        dtypes = self.machine.dtypes
        return [
            *(partial(prober.matrices, dtype, size) for dtype in dtypes for size in sizes(self.machine)),
            prober.copy,
            prober.read,
            *(partial(prober.layers, dtype, index) for dtype in dtypes for index in range(NUM_LAYERS)),
            partial(prober.start, "encoder"),
            partial(prober.start, "LLM"),
            *(partial(prober.decode, is_detailed=is_detailed) for is_detailed in (False, True)),
            *(partial(prober.tiles, are_many=are_many) for are_many in (True, False)),
        ]


def make_device(machine: Machine, measured: Sequence[Measurement]) -> Device:
    """Turn measurements into a device.

    The rate of the machine's first number format is that of its best matrix product, and `compute` the share of it
    that whole layers reach beside starting them. The other formats' rates are such that the same share gives what whole
    layers reach in them: a format that speeds up products speeds up layers less.

    Args:
        machine: what was measured.
        measured: everything that a `Calibration` measures.
    """
    main = machine.dtypes[0]
    starts = [1000 * one.spread.median / one.num_layers for one in _of(measured, "start")]
    layer_us = Range(low=min(starts), high=max(starts))
    peak = max(one.spread.median for one in _of(measured, "matrices", main))
    rates = {dtype: [_layer_rate(one, layer_us) for one in _of(measured, "layers", dtype)] for dtype in machine.dtypes}
    compute = Range(low=min(rates[main]) / peak, high=max(rates[main]) / peak)
    moved = [one.spread.median for one in (*_of(measured, "copy"), *_of(measured, "read"))]
    return Device(
        name=HERE,
        title=machine.title,
        flops={dtype: _middle(rate) / compute.middle if dtype != main else peak for dtype, rate in rates.items()},
        bandwidth=max(moved),
        memory_bytes=machine.memory_bytes,
        compute=compute,
        movement=Range(low=min(moved) / max(moved), high=1),
        layer_us=layer_us,
        decode_ms=_range(_of(measured, "decode")),
        resize_ms=_range(_of(measured, "tiles")),
        source=f"opticnerve calibrate, torch {torch.__version__}, {torch.get_num_threads()} threads",
        date=date.today().isoformat(),
    )


def _layer_rate(one: Measurement, layer_us: Range) -> float:
    """Return operations a second beside starting; that takes at most nine tenths of the time."""
    starting = min(layer_us.middle * one.num_layers / 1000, 0.9 * one.spread.median)
    return 1000 * one.flops / (one.spread.median - starting)


def _of(measured: Sequence[Measurement], probe: Probe, dtype: DType | None = None) -> Sequence[Measurement]:
    return [one for one in measured if one.probe == probe and dtype in (None, one.dtype)]


def _middle(values: Sequence[float]) -> float:
    return Range(low=min(values), high=max(values)).middle


def _range(measured: Sequence[Measurement]) -> Range:
    values = [one.spread.median for one in measured]
    return Range(low=min(values), high=max(values))
