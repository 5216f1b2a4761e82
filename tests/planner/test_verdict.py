"""The verdict on planted cases: a large LLM, a large encoder, a starved memory."""

from dataclasses import replace

from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand
from opticnerve.planner.outcome import Cut, Plan
from opticnerve.planner.ranges import Range
from opticnerve.planner.verdict import judge
from planner.parts import device, llm, model

SIZE = (900, 1200)


def planned(*gains: float, fits: tuple[int, ...] = (1, 1)) -> Plan:
    """A plan whose cuts gain so much."""
    plan = make_plan(model(), device(), Demand(), size=SIZE)
    once = Range(low=1, high=1)
    cuts = tuple(
        Cut(factor=2 + index, prompt_tokens=1, first_token_ms=once, gain=gain, cache_bytes=1, max_batch=fits[-1])
        for index, gain in enumerate(gains)
    )
    return replace(plan, cuts=cuts, max_batch=fits[0])


def test_what_gains_much_is_worth_it_and_the_first_cut_with_most_of_the_gain_is_named() -> None:
    text = judge(planned(1.1, 3.0, 3.5, fits=(10, 20)))
    assert text.startswith("Worth it: 3x fewer visual tokens: time to first token divided by 3.00; 20 instead of 10")
    assert "4x gains little more: 3.50." in text


def test_what_gains_nothing_is_not_worth_the_bother_and_the_reason_is_named() -> None:
    text = judge(planned(1.01, 1.02))
    assert text.startswith("Do not bother: 3x fewer visual tokens: time to first token divided by 1.02, since ")
    assert "since the encoder takes 69% of the time; no more prompts fit at once." in text


def test_what_saves_memory_alone_is_worth_it_for_throughput() -> None:
    text = judge(planned(1.01, 1.02, fits=(10, 15)))
    assert text.startswith("Worth it for throughput, not for latency")
    assert "15 instead of 10 prompts fit at once" in text


def test_a_large_llm_on_a_slow_device_wants_fewer_tokens_and_a_small_one_does_not_care() -> None:
    slow = device(decode_ms=Range(low=0, high=0), resize_ms=Range(low=0, high=0), memory_bytes=10**12)
    large = llm(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, head_dim=128, intermediate_size=11008)
    assert make_plan(model(language=large), slow, Demand(), size=SIZE).verdict.startswith("Worth it:")
    verdict = make_plan(model(), slow, Demand(), size=SIZE).verdict
    assert verdict.startswith("Do not bother")
    assert "since the encoder takes" in verdict


def test_a_single_token_cannot_be_cut() -> None:
    assert judge(replace(planned(1.0), cuts=())) == "There are too few visual tokens to cut."
