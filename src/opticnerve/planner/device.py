"""A device as numbers: what it computes and moves in a second, how much of that is reached, and its memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from opticnerve.errors import PlanError
from opticnerve.planner.ranges import Range

DType = Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4"]
"""Numbers that weights and activations are computed in; int4: weights alone, computed in 16 bits."""

VALUE_BYTES: Mapping[str, float] = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1, "int4": 0.5}
"""Bytes of one number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """What a planner needs to know of a machine."""

    name: str
    title: str
    flops: Mapping[str, float]
    """Operations a second at best (dense, without sparsity), by number format."""
    bandwidth: float
    """Bytes a second between memory and cores."""
    memory_bytes: int
    """Memory for weights, caches and activations; of an H100, its own; of a phone, what an app may take."""
    compute: Range
    """Share of `flops` that large matrix products of a model reach, from bad to good."""
    movement: Range
    """Share of `bandwidth` that is reached."""
    layer_us: Range
    """Microseconds that a layer takes however little it computes: starting its kernels."""
    decode_ms: Range
    """Milliseconds of one core to decode a megapixel of JPEG."""
    resize_ms: Range
    """Milliseconds of one core to make a megapixel of tiles."""
    source: str
    date: str

    def rate(self, dtype: DType) -> float:
        """Return the operations a second for a number format.

        Args:
            dtype: of the computation; int4 weights are computed in bf16 or fp16.

        Raises:
            PlanError: the device does not compute in it.
        """
        for one in (dtype, *(("bf16", "fp16") if dtype in ("bf16", "fp16", "int4") else ())):
            if one in self.flops:
                return self.flops[one]
        raise PlanError(f'device "{self.name}" does not compute in {dtype}: it has {", ".join(self.flops)}')

    def time(self, *, flops: float, moved_bytes: float, layers: float, dtype: DType) -> Range:
        """Say how many milliseconds a piece of work takes: what is slower, computing or moving, and starting it.

        Args:
            flops: operations.
            moved_bytes: read from memory and written to it.
            layers: transformer layers that are started one after another, or what takes as long.
            dtype: numbers that are computed with.

        Source: the roofline model, Williams et al., 2009.
        """
        computing = Range(low=self.compute.low, high=self.compute.high).inverse(1000 * flops / self.rate(dtype))
        moving = self.movement.inverse(1000 * moved_bytes / self.bandwidth)
        starting = self.layer_us.times(layers / 1000)
        return Range(low=max(computing.low, moving.low), high=max(computing.high, moving.high)) + starting
