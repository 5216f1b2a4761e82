"""Lanes: side by side, in order, one thread each, and nothing left behind."""

import threading
import time

import pytest
import torch

from opticnerve.encode.lanes import InOrder, Lanes


def test_calls_run_side_by_side_and_their_results_come_in_order() -> None:
    both = threading.Barrier(2, timeout=20)  # broken unless two calls are running at once

    def call(number: int) -> int:
        both.wait()
        time.sleep(0.02 if number % 2 == 0 else 0)
        return number

    with Lanes(2) as lanes:
        calls: InOrder[str, int] = InOrder(lanes)
        results = [pair for number in range(10) for pair in calls.put(f"{number}", lambda number=number: call(number))]
        assert len(results) == 10 - 4  # two for each lane are on their way
        results += calls.flush()
    assert results == [(f"{number}", number) for number in range(10)]


def test_every_lane_computes_with_one_thread_and_the_caller_gets_his_back() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with Lanes(2) as lanes:
            assert [lanes.start(torch.get_num_threads).result() for _ in range(4)] == [1] * 4
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_an_error_comes_out_where_its_result_would_and_no_thread_is_left() -> None:
    before, num_called = threading.active_count(), 0

    def fail() -> None:
        nonlocal num_called
        num_called += 1
        time.sleep(0.05)
        raise ValueError("of a call")

    def use() -> None:
        with Lanes(1) as lanes:
            calls: InOrder[int, None] = InOrder(lanes)
            for number in range(10):
                list(calls.put(number, fail))

    with pytest.raises(ValueError, match="of a call"):
        use()
    assert num_called < 4
    assert threading.active_count() == before
