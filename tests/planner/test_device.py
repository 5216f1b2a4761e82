"""A device's arithmetic: rates by number format, and the roofline."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opticnerve.errors import PlanError
from opticnerve.planner.ranges import Range
from planner.parts import device

COSTS = st.floats(1, 1e15)


def test_sixteen_bits_stand_for_each_other_and_carry_int4() -> None:
    old = device(flops={"fp32": 8e12, "fp16": 65e12})
    assert old.rate("bf16") == old.rate("fp16") == old.rate("int4") == 65e12
    assert old.rate("fp32") == 8e12


def test_a_number_format_that_a_device_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(PlanError, match='device "round" does not compute in int8: it has fp32, bf16'):
        device().rate("int8")


@given(flops=COSTS, moved=COSTS, layers=st.integers(0, 100))
def test_the_best_case_is_never_slower_than_the_worst(flops: float, moved: float, layers: int) -> None:
    on = device(compute=Range(low=0.3, high=0.7), movement=Range(low=0.6, high=0.9), layer_us=Range(low=5, high=500))
    time = on.time(flops=flops, moved_bytes=moved, layers=layers, dtype="bf16")
    assert 0 < time.low <= time.high
    assert time.low >= max(1000 * flops / (0.7 * 1e12), 1000 * moved / (0.9 * 1e11)) * (1 - 1e-9)


@given(flops=COSTS, moved=COSTS)
def test_more_work_never_takes_less_time(flops: float, moved: float) -> None:
    on = device(layer_us=Range(low=5, high=500))
    less = on.time(flops=flops, moved_bytes=moved, layers=3, dtype="bf16")
    more = on.time(flops=2 * flops, moved_bytes=2 * moved, layers=3.5, dtype="bf16")
    assert less.low < more.low
    assert less.high < more.high
